"""The process that builds derived tables, so that the service answers meanwhile.

It reads one job from standard input and writes its progress and its result to standard output, a JSON document on each
line. It ends when standard input is closed: at the latest when the service is gone, even by `kill -9`.
"""

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from shared.chassis import failpoints
from shared.chassis.engine.rebuild import Built, DerivedTables, Progress, build

MAX_TRACEBACK = 8192
PROGRESS_SECONDS = 0.2


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to build, and where."""

    derived: str
    """The function that returns the tables: `order_service.store:derived_tables`."""
    version: int
    digest: str
    file: str
    database: str
    is_comparable: bool
    failpoint: str | None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing was built."""

    reason: str
    traceback: str = ""


Message = Progress | Built | Failed
"""A line of the output; the last one is no Progress."""


def reference_to(derived: Callable[[], DerivedTables]) -> str:
    """What `Job.derived` is for a function of a module."""
    module = sys.modules[derived.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    return f"{name}:{derived.__qualname__}"


def main() -> NoReturn:
    # Ctrl-C reaches the service, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what code prints must not get between the messages
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_input, daemon=True).start()
    message = _run(job, _throttled(partial(_write, output)))
    _write(output, message)
    sys.exit(isinstance(message, Failed))


def _run(job: Job, on_progress: Callable[[Progress], None]) -> Built | Failed:
    failpoints.arm(job.failpoint)
    try:
        module, _, name = job.derived.partition(":")
        derived: DerivedTables = getattr(import_module(module), name)()
        _collect_rarely()
        if derived.state[:2] != (job.version, job.digest):
            return Failed(reason="another release was installed since: restart the service")
        return build(
            derived,
            Path(job.file),
            Path(job.database),
            is_comparable=job.is_comparable,
            on_progress=on_progress,
        )
    except Exception as error:  # noqa: BLE001 - the service reports it
        reason = getattr(error, "orig", None) or error
        text = f"{type(reason).__name__}: {reason}"
        return Failed(reason=text, traceback=traceback.format_exc()[-MAX_TRACEBACK:])


def _collect_rarely() -> None:
    """Batches leave few cycles, and looking for them took a sixth of the time."""
    gc.freeze()
    gc.set_threshold(100_000)


def _throttled(write: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Skips what comes too soon after what was written, unless it is of another stage."""
    last: Progress | None = None

    def write_some(progress: Progress) -> None:
        nonlocal last
        if (
            last
            and last.stage is progress.stage
            and progress.seconds < last.seconds + PROGRESS_SECONDS
        ):
            return
        last = progress
        write(progress)

    return write_some


def _write(output: BinaryIO, message: Message) -> None:
    output.write(msgspec.json.encode(message) + b"\n")


def _end_with_input() -> None:
    while os.read(
        0, 4096
    ):  # not sys.stdin: a thread that has its lock blocks the end of the process
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
