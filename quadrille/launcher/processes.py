"""honcho's Manager as the shop needs it: children never outlive it, and their output goes to log files."""

import ctypes
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
import honcho.manager
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message
from honcho.process import Popen, Process

from shared.chassis.printable import printable

KILL_SECONDS = 12
"""Longer than any service takes to end; one that has not by then is killed."""
PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 16 * 1024 * 1024
"""Of one file; each process has two."""

HAS_LEVEL = re.compile(r'\[(?:debug|info|warning|error|critical) *\]|"level":"')
IS_URGENT = re.compile(r'\[(?:warning|error|critical) *\]|"level":"(?:warning|error|critical)"')

honcho.manager.KILL_WAIT = KILL_SECONDS

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent is gone, even by `kill -9`."""
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, how)


class Logs:
    """A file for each child with all that it prints; on the terminal, what asks for attention."""

    width = 0
    """honcho expects it; files need no columns."""

    def __init__(self, directory: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._file_of: dict[str, IO[bytes]] = {}
        self._is_urgent: dict[str, bool] = {}
        self.is_silent = False
        """While all are ending, that one misses another is no news."""

    def open(self, name: str) -> Path:
        """A new file for what `name` prints; the last one is kept beside it, and older ones are not."""
        path = self.path(name)
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        if name in self._file_of:
            self._file_of[name].close()
        self._file_of[name] = path.open("wb", buffering=0)
        return path

    def close(self) -> None:
        """After the last line."""
        for file in self._file_of.values():
            file.close()

    def path(self, name: str) -> Path:
        """Where it is kept."""
        return self._directory / f"{name}.log"

    def write(self, message: Message) -> None:
        """Keep a line, in a new file when this one is full; show it if it belongs to a warning or an error."""
        if message.name == SYSTEM_PRINTER_NAME:
            return
        if self._file_of[message.name].tell() + len(message.data) > self._max_bytes:
            self.open(message.name)
        self._file_of[message.name].write(message.data)
        line = message.data.decode(errors="replace").rstrip("\n")
        if HAS_LEVEL.search(line):
            self._is_urgent[message.name] = bool(IS_URGENT.search(line))
        if self._is_urgent.get(message.name, True) and not self.is_silent:
            click.echo(f"{message.name} | {printable(line)}")


class Supervisor(Manager):  # type: ignore[misc]  # honcho has no types
    """Runs the children until one ends by itself or all are told to; then ends them all."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logs)
        self._process_ctor = ChildProcess
        self._logs = logs
        self.ended_first: dict[str, int] = {}
        """Exit codes of those that ended before they were told to."""
        self.is_ending = False
        self.on_forked: Callable[[], None] | None = None
        """Called once no more processes are forked, so that threads may be started."""

    def add(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A child that `loop` will start."""
        self._logs.open(name)
        self.add_process(name, command, env=dict(environment))

    def is_started(self) -> bool:
        """Whether every child has become a process."""
        return bool(self._processes) and bool(self._all_started())

    def terminate(self) -> None:
        """Tell all to end. While they are still being started it only notes the wish: call again after."""
        if not self.is_ending:
            self.is_ending = True
            self._logs.is_silent = True
            self.ended_first |= self._returncodes()
        if self.is_started():
            super().terminate()

    def _start(self) -> None:
        super()._start()
        if self.on_forked:
            self.on_forked()

    def miss_the_lost(self) -> None:
        """Note those whose reader was killed: they have ended with it, and nobody else would say so."""
        for process in self._processes.values():
            code = process["process"].exitcode
            if code and "returncode" not in process:
                process["returncode"] = code

    def killed(self) -> list[str]:
        """Those that did not end in time; ask after `loop`."""
        codes = self._returncodes()
        return [
            name
            for name, code in codes.items()
            if code == -signal.SIGKILL and name not in self.ended_first
        ]

    def _returncodes(self) -> dict[str, int]:
        return {
            name: process["returncode"]
            for name, process in self._processes.items()
            if "returncode" in process
        }


class ChildProcess(Process):  # type: ignore[misc]  # honcho has no types
    """A child without a shell in between, which ends when the supervisor does."""

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - honcho's own
        super().__init__(*given, **named)
        self._child_ctor = partial(Popen, shell=False, preexec_fn=end_with_parent)

    def run(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - honcho's own
        """In the process of honcho's that reads the child's output; the tie passes through it."""
        end_with_parent(signal.SIGKILL)
        super().run(*given, **named)
