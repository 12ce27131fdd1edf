"""The contracts as they were last written to files: the schema of every version of every event, and the lock."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

LOCK = "events.lock.json"


class LockedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What must not change without being noticed."""

    publisher: str | None
    """None if every service may publish it."""
    entity: str
    """The field of `data` with the id of the entity; part of the subject."""
    consumers: tuple[str, ...]
    schemas: dict[str, str]
    """The SHA-256 of each version's schema file, so that a schema is not edited by hand."""

    @property
    def version(self) -> int:
        """The latest."""
        return max(map(int, self.schemas))


class Released(NamedTuple):
    """What the files contain."""

    events: dict[str, LockedEvent]
    files: dict[str, bytes]
    """By their paths below the directory: `schemas/OrderCreated.v1.json`."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Nothing, if nothing was written yet."""
        lock = directory / LOCK
        events = (
            msgspec.json.decode(lock.read_bytes(), type=dict[str, LockedEvent])
            if lock.exists()
            else {}
        )
        paths = [directory / LOCK, directory / "asyncapi.json", *directory.glob("schemas/*.json")]
        files = {
            str(path.relative_to(directory)): path.read_bytes() for path in paths if path.exists()
        }
        return cls(events, files)

    def schema(self, event_type: str, version: int) -> dict[str, Any]:
        """The locked one. Raises KeyError if its file is missing."""
        document: dict[str, Any] = msgspec.json.decode(self.files[schema_path(event_type, version)])
        return document

    def edited(self, event_type: str) -> list[str]:
        """The paths of its schemas that are missing, or differ from what was written."""
        return [
            path
            for version, digest in self.events[event_type].schemas.items()
            if digest_of(self.files.get(path := schema_path(event_type, int(version)), b""))
            != digest
        ]


def schema_path(event_type: str, version: int) -> str:
    """Below the directory of the contracts."""
    return f"schemas/{event_type}.v{version}.json"


def digest_of(file: bytes) -> str:
    """The SHA-256, in hexadecimal."""
    return hashlib.sha256(file).hexdigest()


def encoded(document: object) -> bytes:
    """Indented JSON that ends with a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
