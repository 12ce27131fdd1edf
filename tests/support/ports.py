"""Ports nobody listens on, drawn below the range from which the kernel takes its own.

A port is drawn once: its owner may leave it and come back to it. Parallel workers draw from ranges of their own.
"""

import os
import random
import socket

FIRST, LAST = 15_000, 32_000
RANGES = 8

_draw = random.SystemRandom()
_drawn: set[int] = set()


def free_port() -> int:
    """A port of the loopback that is free at present, and was not drawn before."""
    while True:
        port = _draw.choice(_own_range())
        if port in _drawn or not _is_free(port):
            continue
        _drawn.add(port)
        return port


def _own_range() -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # noqa: TID251 - not a setting of ours
    if worker is None:
        return range(FIRST, LAST)
    number = int(worker.removeprefix("gw")) % RANGES
    size = (LAST - FIRST) // RANGES
    return range(FIRST + number * size, FIRST + (number + 1) * size)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
