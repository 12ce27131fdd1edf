"""What the launcher's processes print: a bounded file for each; warnings and errors on the terminal too."""

import re
from pathlib import Path
from typing import IO

import click

from shared.chassis.printable import printable

MAX_LOG_BYTES = 16 * 1024 * 1024
"""Of one file; each process has two."""

HAS_LEVEL = re.compile(r'\[(?:debug|info|warning|error|critical) *\]|"level":"')
IS_URGENT = re.compile(r'\[(?:warning|error|critical) *\]|"level":"(?:warning|error|critical)"')


def earlier(path: Path) -> Path:
    """Where the file is that this one has replaced."""
    return path.with_suffix(".log.1")


def rotate(path: Path) -> None:
    """Keep the last file in place of the one before it."""
    if path.exists():
        path.replace(earlier(path))


class BoundedFile:
    """A new log file; when it is full, another one."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file = self._open_new()

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self._max_bytes:
            self.close()
            self._file = self._open_new()
        self._size += self._file.write(data)

    def close(self) -> None:
        self._file.close()

    def _open_new(self) -> IO[bytes]:
        rotate(self._path)
        self._size = 0
        return self._path.open("wb", buffering=0)


class LogFile:
    """The output of one process."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._name = path.stem
        self._file = BoundedFile(path, max_bytes)
        self.begin_process()
        self.is_silent = False
        """While all processes stop, one that loses its connection to another is not worth a warning."""

    def begin_process(self) -> None:
        """What a process prints before its first line with a level is why it cannot start."""
        self._is_urgent = True

    def write(self, line: bytes) -> None:
        """Append a line; print it if it belongs to a warning or an error."""
        self._file.write(line)
        text = line.decode(errors="replace").rstrip("\n")
        if HAS_LEVEL.search(text):  # a line without one continues the last: a traceback
            self._is_urgent = bool(IS_URGENT.search(text))
        if self._is_urgent and not self.is_silent:
            click.echo(f"{self._name} | {printable(text)}")

    def close(self) -> None:
        """After the last line."""
        self._file.close()
