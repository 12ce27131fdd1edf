"""The loops beside the HTTP server end when they are told to."""

import asyncio
import contextlib

from shared.chassis.runtime.service import BackgroundLoops


async def test_loop_that_swallows_cancellation_is_cancelled_again():
    ended = asyncio.Event()

    async def loses_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background = BackgroundLoops()
    background.start("loop", loses_one)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await background.cancel("loop")
    assert ended.is_set()


async def test_cancelling_an_unknown_loop_is_a_no_op():
    await BackgroundLoops().cancel("nothing")
