"""Files that only their owner may read."""

import os
from pathlib import Path


def write_secret(path: Path, secret: str) -> None:
    """Replace the file; it is on the disk when this returns. Raises OSError."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
