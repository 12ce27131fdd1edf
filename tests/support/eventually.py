"""Polling for a condition, instead of sleeping for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

INITIAL_BACKOFF_SECONDS = 0.01
MAX_BACKOFF_SECONDS = 0.2


async def eventually(check: Callable[[], T | Awaitable[T]], within_seconds: float = 10) -> T:
    """Call `check`, async or not, until its result is true and it fails no assertion; returns the result.

    When time is up, its last AssertionError is raised, or one that shows its last result.
    """
    deadline = time.monotonic() + within_seconds
    pause = INITIAL_BACKOFF_SECONDS
    while True:
        try:
            result = check()
            if isawaitable(result):
                result = await result
            if result:
                return result
            missed = AssertionError(f"still {result!r} after {within_seconds} s")
        except AssertionError as error:
            missed = error
        if time.monotonic() >= deadline:
            raise missed
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_BACKOFF_SECONDS)
