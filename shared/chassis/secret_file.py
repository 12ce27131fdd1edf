"""Files that only their owner may read."""

import os
from pathlib import Path

OWNER_ONLY = 0o600


def write_secret(path: Path, secret: str, mode: int = OWNER_ONLY) -> None:
    """Replace the file atomically; it is on the disk when this returns. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)  # independent of the umask
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
