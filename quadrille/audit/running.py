"""Whether the services of a data directory run: each holds a lock beside its database."""

import fcntl
from contextlib import suppress
from pathlib import Path


def is_running(data_dir: Path) -> bool:
    """Whether any of them does."""
    return any(_is_locked(file) for file in data_dir.glob("*.db.lock"))


def _is_locked(file: Path) -> bool:
    with suppress(FileNotFoundError), file.open("rb") as opened:
        try:
            # Shared, and released at once when the file is closed.
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
