"""What a fault is, and the table of all faults."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from tests.chaos.shop import ChaosShop

Lane = str
"""Faults of one lane follow each other, those of several overlap."""
Inject = Callable[[ChaosShop, random.Random], AbstractAsyncContextManager[None]]


class Fault(NamedTuple):
    """Something that goes wrong at the start of its context, and is healed at its end."""

    name: str
    kind: str
    """The class of faults it belongs to."""
    lane: Lane
    test: str
    """The test of its remedy alone, under `tests/`."""
    inject: Inject
    needs_small_disk: bool = False


FAULTS: dict[str, Fault] = {}


def fault(
    *, kind: str, lane: Lane, test: str, needs_small_disk: bool = False
) -> Callable[[Callable[[ChaosShop, random.Random], AsyncIterator[None]]], Inject]:
    """Enter a function with one `yield` into the table, by its name."""

    def enter(function: Callable[[ChaosShop, random.Random], AsyncIterator[None]]) -> Inject:
        inject = asynccontextmanager(function)
        name = function.__name__
        FAULTS[name] = Fault(name, kind, lane, test, inject, needs_small_disk)
        return inject

    return enter
