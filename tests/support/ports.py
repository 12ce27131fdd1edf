"""Ports nobody listens on, drawn below the range from which the kernel takes its own.

A port is drawn once, as long as there are others: its owner may leave it and come back to it. Parallel workers draw from
ranges of their own.
"""

import os
import random
import socket

FIRST, LAST = 15_000, 32_000
MOST_DRAWN = 0.9

_draw = random.SystemRandom()
_drawn: set[int] = set()


def free_port() -> int:
    """A port of the loopback that is free at present, and was not drawn before."""
    ports = _own_range()
    if len(_drawn) > len(ports) * MOST_DRAWN:  # the first are those of tests that have ended
        _drawn.clear()
    while True:
        port = _draw.choice(ports)
        if port in _drawn or not _is_free(port):
            continue
        _drawn.add(port)
        return port


def _own_range() -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # noqa: TID251 - not a setting of ours
    if worker is None:
        return range(FIRST, LAST)
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])  # noqa: TID251 - not a setting of ours
    number = int(worker.removeprefix("gw"))
    size = (LAST - FIRST) // workers
    return range(FIRST + number * size, FIRST + (number + 1) * size)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
