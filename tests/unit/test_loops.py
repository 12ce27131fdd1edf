"""Background loops end when they are stopped."""

import asyncio
import contextlib

from shared.chassis.runtime.loops import Loop


async def test_lost_cancellation_is_repeated():
    ended = asyncio.Event()

    async def lose_first_cancellation() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    loop = Loop("loop", lose_first_cancellation)
    loop.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await loop.stop()
    assert ended.is_set()


async def test_stop_of_loop_never_started_returns():
    await Loop("loop", asyncio.Event().wait).stop()


async def test_requested_stop_lets_loop_finish():
    requested, finished = asyncio.Event(), asyncio.Event()

    async def finish_when_requested() -> None:
        await requested.wait()
        await asyncio.sleep(0)
        finished.set()

    loop = Loop("loop", finish_when_requested, request_stop=requested.set, grace_seconds=lambda: 5)
    loop.start()
    await loop.stop()
    assert finished.is_set()


async def test_stop_waits_for_async_request():
    drained = asyncio.Event()

    async def drain() -> None:
        await asyncio.sleep(0)
        drained.set()

    loop = Loop("loop", asyncio.Event().wait, request_stop=drain)
    loop.start()
    await loop.stop()
    assert drained.is_set()
