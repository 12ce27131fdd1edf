"""`quadrille up --detach`: a launcher in a session of its own, which prints at the terminal until the shop is ready."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from quadrille.launcher.log_files import BoundedFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NAME = "up"
"""Of its log, without ending."""
READY_OPTION = "--ready-descriptor"
READY = b"1"


def start() -> int:
    """Return the exit code: 0 when the shop is ready, the launcher's own when it ends before."""
    ready, notifying = os.pipe()
    launcher = subprocess.Popen(
        [sys.executable, "-m", "quadrille", "up", READY_OPTION, str(notifying)],
        stdin=subprocess.DEVNULL,
        pass_fds=[notifying],
        start_new_session=True,
    )
    os.close(notifying)
    try:
        is_ready = os.read(ready, len(READY)) == READY
    except KeyboardInterrupt:
        launcher.terminate()
        return launcher.wait()
    return 0 if is_ready else launcher.wait()


def leave_terminal(descriptor: int, log: Path) -> Callable[[], None]:
    """What the launcher calls when the shop is ready: from then on it prints into a log."""

    def leave() -> None:
        sys.stdout.flush()
        buffer = io.BufferedWriter(_LogOutput(BoundedFile(log)))
        sys.stdout = sys.stderr = io.TextIOWrapper(buffer, "utf-8", line_buffering=True)
        with Path(os.devnull).open("wb") as nothing:
            for stream in (1, 2):
                os.dup2(nothing.fileno(), stream)
        with suppress(BrokenPipeError):  # the command was killed meanwhile
            os.write(descriptor, READY)
        os.close(descriptor)

    return leave


class _LogOutput(io.RawIOBase):
    def __init__(self, file: BoundedFile) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer") -> int:
        written = bytes(data)
        self._file.write(written)
        return len(written)
