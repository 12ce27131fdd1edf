"""Ports nobody listens on, drawn below the range from which the kernel takes its own."""

import random
import socket

FIRST, LAST = 15_000, 32_000


def free_port() -> int:
    """A port of the loopback that is free at present; parallel runs draw from different seeds."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
