"""Processes that never outlive the launcher: started, started again when they end, and stopped within a time limit."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import IO, Self

from quadrille.launcher.log_files import LogFile
from quadrille.launcher.restarts import Restarts

STOP_TIMEOUT_SECONDS = 12
"""Longer than any service takes to stop; one that has not by then is killed."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessKilled(Exception):
    """A process did not stop in time."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ChildProcess:
    """A process in a session of its own, so that Ctrl-C reaches the launcher alone."""

    def __init__(self, name: str, process: Process, log: LogFile | None) -> None:
        self.name = name
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: LogFile | None = None,
        output: IO[bytes] | None = None,
    ) -> Self:
        """What it prints goes to its log, or to `output`, or to where the launcher prints."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=DEVNULL,
            stdout=PIPE if log else output,
            stderr=STDOUT if log or output else None,
            start_new_session=True,
            preexec_fn=partial(_end_with_parent, os.getpid()),
        )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def watch(self) -> int:
        """Write its output to its log file until it ends; returns its exit code, negative for a signal's number."""
        if self._process.stdout and self._log:
            async for line in _lines(self._process.stdout):
                self._log.write(line)
        return await self._process.wait()

    async def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """SIGTERM, then SIGKILL; does nothing when it has ended. Raises ProcessKilled."""
        if self._log:
            self._log.is_silent = True
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.watch()
        except TimeoutError:
            self._send(signal.SIGKILL)
            await self.watch()
            raise ProcessKilled(self.name) from None

    def _send(self, number: signal.Signals) -> None:
        # Not Process.send_signal: before Python 3.13 that may reap a process that has just ended, and lose its code.
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


async def supervise(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], log_path: Path
) -> None:
    """Run a process until this task is cancelled, then stop it. Raises ProcessGivenUp and ProcessKilled."""
    restarts = Restarts(name)
    with closing(LogFile(log_path)) as log:
        while True:
            log.begin_process()
            child = await ChildProcess.start(name, command, environment, log)
            try:
                code = await child.watch()
            except asyncio.CancelledError:
                await child.stop()
                raise
            await restarts.pause_after(code)


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Each with its end; a line longer than the reader's buffer comes in pieces."""
    while True:
        try:
            yield await output.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            yield await output.readexactly(error.consumed)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                yield error.partial
            return


def _end_with_parent(parent_pid: int) -> None:
    """Have Linux send this process SIGTERM when its parent is gone, even by `kill -9`; other systems cannot."""
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:  # the parent ended before that took effect
            os._exit(1)
