"""Runs the rebuilds of a service, one at a time: starts the process that builds, follows it, and takes its tables over."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from enum import StrEnum, unique
from functools import partial
from itertools import count

import msgspec
import structlog

from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.engine.rebuild import Built, DerivedTables, Progress, swap
from shared.chassis.engine.rebuild_process import Failed, Job, Message, reference_to
from shared.chassis.failpoints import failpoint
from shared.chassis.messages import clock
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.database import Database
from shared.chassis.storage.rebuild_file import (
    BUILT,
    TableComparison,
    delete_rebuild_file,
    rebuild_file,
)

INITIAL_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
"""Between two attempts to rebuild tables that the service cannot do without."""

MIN_SECONDS = 0.001

log = structlog.get_logger()


@unique
class RebuildStatus(StrEnum):
    BUILDING = "BUILDING"
    COMPARING = "COMPARING"
    SWAPPING = "SWAPPING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class RebuildFailed(Exception):
    """The tables in use are as they were; the message is the reason."""


class Rebuild(msgspec.Struct, kw_only=True, rename="camel"):
    """A rebuild of a service's derived tables, under way or ended."""

    status: RebuildStatus = RebuildStatus.BUILDING
    started_at: datetime = msgspec.field(default_factory=clock.now)
    ended_at: datetime | None = None
    events: int = 0
    """Folded so far."""
    total_events: int | None = None
    events_per_second: int | None = None
    seconds_left: int | None = None
    """An estimate, of the fold alone."""
    swap_seconds: float | None = None
    """How long the service wrote nothing else."""
    tables: Sequence[TableComparison] | None = None
    """How the tables in use differed; they were replaced all the same. None if they were not comparable."""
    differences: int | None = None
    """Rows of all tables that differed."""
    error: str | None = None


class Rebuilder:
    """The rebuilds of one service; call `close` before the database is closed."""

    def __init__(
        self,
        database: Database,
        derived: Callable[[], DerivedTables],
        failpoint: str | None = None,
    ) -> None:
        """`derived` is a function of a module: the process that builds finds it by its name."""
        self.derived = derived()
        self.current: Rebuild | None = None
        """The one under way."""
        self.last: Rebuild | None = None
        """The last one that ended, since the start of the service."""
        self._database = database
        self._reference = reference_to(derived)
        self._failpoint = failpoint
        self._file = rebuild_file(database.url)
        self._running: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_required = False
        """Whether it is repeated until it succeeds."""

    def delete_leftovers(self) -> None:
        """Delete what a process that was killed has left. Only for the process that has locked the database."""
        delete_rebuild_file(self._file)

    def start(self) -> None:
        """Rebuild in the background. Raises Rejected while a rebuild is under way."""
        if self.current or self._is_required or self._is_closing:
            raise Rejected("rebuild-running", "the tables are being rebuilt already")
        self.current = Rebuild()
        self._running = asyncio.create_task(self._run_in_background(self.current))

    async def rebuild_until_complete(self) -> None:
        """Rebuild tables that cannot be used as they are, repeatedly until it succeeds."""
        self._is_required = True
        for failures in count():
            self.current = Rebuild()
            with suppress(RebuildFailed):
                await self._run(self.current, is_comparable=False)
                break
            await asyncio.sleep(backoff_seconds(INITIAL_PAUSE_SECONDS, MAX_PAUSE_SECONDS, failures))
        self._is_required = False

    async def close(self) -> None:
        """Abort a rebuild; the tables in use stay as they are."""
        self._is_closing = True
        if self._running:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run_in_background(self, rebuild: Rebuild) -> None:
        with suppress(RebuildFailed):
            await self._run(rebuild, is_comparable=True)

    async def _run(self, rebuild: Rebuild, *, is_comparable: bool) -> None:
        """Build and take over. Raises RebuildFailed."""
        log.info("rebuild.started")
        try:
            built = await self._build(rebuild, is_comparable=is_comparable)
            await self._swap(rebuild, built)
        except Exception as error:  # the fold of a service may raise anything
            rebuild.status = RebuildStatus.FAILED
            rebuild.error = str(getattr(error, "orig", None) or error)
            log.exception("rebuild.failed", reason=rebuild.error)
            raise RebuildFailed(rebuild.error) from error
        else:
            rebuild.status = RebuildStatus.COMPLETED
            _log_completed(rebuild)
        finally:
            delete_rebuild_file(self._file)
            rebuild.ended_at = clock.now()
            rebuild.seconds_left = None
            self.current, self.last = None, rebuild

    async def _build(self, rebuild: Rebuild, *, is_comparable: bool) -> Built:
        delete_rebuild_file(self._file)
        job = Job(
            derived=self._reference,
            version=self.derived.version,
            digest=self.derived.state.digest,
            file=str(self._file),
            database=str(self._database.url.database),
            is_comparable=is_comparable,
            failpoint=self._failpoint,
        )
        async with _process(job) as process:
            async for message in _messages(process):
                match message:
                    case Progress():
                        _note_progress(rebuild, message)
                    case Built():
                        _note_built(rebuild, message)
                        return message
                    case Failed(reason=reason, traceback=traceback):
                        log.warning("rebuild_process.failed", traceback=traceback)
                        raise RebuildFailed(reason)
            raise RebuildFailed(f"the process that builds ended with {await process.wait()}")

    async def _swap(self, rebuild: Rebuild, built: Built) -> None:
        rebuild.status = RebuildStatus.SWAPPING
        started = time.monotonic()
        await self._database.run_attached(
            self._file,
            BUILT,
            partial(swap, derived=self.derived, built=built),
            should_abort=lambda: self._is_closing,
        )
        rebuild.swap_seconds = round(time.monotonic() - started, 3)
        failpoint("after_rebuild_swap")


@asynccontextmanager
async def _process(job: Job) -> AsyncIterator[Process]:
    """The process that does the job, which never outlives the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "shared.chassis.engine.rebuild_process"),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        if process.stdin:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _messages(process: Process) -> AsyncIterator[Message]:
    if process.stdout:
        async for line in process.stdout:
            yield msgspec.json.decode(line, type=Message)


def _note_progress(rebuild: Rebuild, progress: Progress) -> None:
    rebuild.status = RebuildStatus(progress.stage)
    rebuild.events, rebuild.total_events = progress.events, progress.total
    if progress.events:
        per_second = progress.events / max(progress.seconds, MIN_SECONDS)
        rebuild.events_per_second = round(per_second)
        rebuild.seconds_left = round((progress.total - progress.events) / per_second)


def _note_built(rebuild: Rebuild, built: Built) -> None:
    rebuild.events = rebuild.total_events = built.events
    rebuild.events_per_second = round(built.events / max(built.seconds, MIN_SECONDS))
    rebuild.seconds_left = 0
    rebuild.tables = built.tables
    if built.tables is not None:
        rebuild.differences = sum(table.differences for table in built.tables)


def _log_completed(rebuild: Rebuild) -> None:
    log.info(
        "rebuild.completed",
        events=rebuild.events,
        events_per_second=rebuild.events_per_second,
        swap_seconds=rebuild.swap_seconds,
    )
    for table in rebuild.tables or ():
        if table.differences:
            log.warning("rebuild.differed", **msgspec.structs.asdict(table))
