"""Background loops that run beside the HTTP server."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from shared.chassis.engine.writer import Writer
from shared.chassis.errors import FAILED, FatalError

CANCEL_AGAIN_SECONDS = 0.2
WRITER_STOP_SECONDS = 3

log = structlog.get_logger()


class Loop:
    """One loop, started and stopped once; a loop that fails ends the process."""

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        request_stop: Callable[[], Awaitable[None] | None] | None = None,
        grace_seconds: Callable[[], float] = lambda: 0,
    ) -> None:
        """`request_stop` asks the loop to end on its own; after `grace_seconds` it is cancelled."""
        self._name = name
        self._run = run
        self._request_stop = request_stop
        self._grace_seconds = grace_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run_once(), name=self._name)
        self._task.add_done_callback(_end_process_if_failed)

    async def stop(self) -> None:
        """Return when the loop has ended; at once for a loop that was not started."""
        if self._task is None:
            return
        if self._request_stop and (requested := self._request_stop()) is not None:
            await requested
        await asyncio.wait([self._task], timeout=max(self._grace_seconds(), 0))
        await self._cancel(self._task)

    async def _run_once(self) -> None:
        await self._run()

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        # A cancellation can be lost: Python 3.11's `wait_for`, which nats-py uses, swallows one that arrives
        # together with its answer. So it is repeated until the loop has ended.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)


def writer_loop(writer: Writer[Any, Any]) -> Loop:
    """Asked to stop, it commits what is queued."""
    return Loop(
        "writer",
        writer.run,
        request_stop=writer.stop,
        grace_seconds=lambda: WRITER_STOP_SECONDS,
    )


def _end_process_if_failed(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    code = error.exit_code if isinstance(error, FatalError) else FAILED
    try:
        if isinstance(error, FatalError):
            log.critical("service.failed", reason=str(error))
            return
        log.critical("component.crashed", part=task.get_name(), exc_info=error)
    finally:
        # Everything acknowledged is committed, so ending is safe; a service without one of its loops would hide the fault.
        os._exit(code)
