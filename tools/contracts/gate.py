"""Refuses changes of events that would make recorded events unreadable, or surprise those who consume them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jsonschema_rs
import msgspec

from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.event import Event
from tools.contracts.compatibility import incompatible_changes, widened_fields
from tools.contracts.consumers import Contracts
from tools.contracts.released import LockedEvent, Released, schema_path
from tools.contracts.schemas import entity_field, schema_of


class Gate(NamedTuple):
    """Compares the events of this code with those of the last lock."""

    contracts: Contracts
    released: Released
    samples: Path
    """The directory of the golden samples, `OrderCreated.v1.json`."""

    def problems(self) -> list[str]:
        """A paragraph for each event that must not change as it did."""
        event_types = self.contracts.catalog.event_types
        removed = [name for name in self.released.events if name not in event_types]
        return [
            *map(self._removal, removed),
            *(
                text
                for event_type in event_types.values()
                for text in self._problems_of(event_type)
            ),
        ]

    def notes(self) -> list[str]:
        """A sentence for each event that consumers of the last lock may refuse."""
        return [
            text for event_type in self._unchanged_versions() for text in self._notes_of(event_type)
        ]

    def _removal(self, name: str) -> str:
        consumers = _listed(self.released.events[name].consumers)
        return (
            f"{name} is not in the catalog any more; consumers: {consumers}.\n"
            "  Recorded events of this type could not be read. Keep its struct, and stop publishing it."
        )

    def _problems_of(self, event_type: type[Event]) -> Iterator[str]:
        name, version = event_type.__name__, event_type.SCHEMA_VERSION
        locked = self.released.events.get(name)
        reasons = [
            *self._reasons_of_lock(event_type, locked),
            *self._unreadable_versions(event_type),
        ]
        if reasons:
            listed = "\n".join(f"  - {reason}" for reason in reasons)
            consumers = _listed(self.contracts.consumers[name])
            yield f"{name} v{version} is incompatible with what was published; consumers: {consumers}.\n{listed}"

    def _reasons_of_lock(
        self, event_type: type[Event], locked: LockedEvent | None
    ) -> Iterator[str]:
        name, version = event_type.__name__, event_type.SCHEMA_VERSION
        if locked is None:
            return
        if edited := self.released.edited(name):
            yield f"{_listed(edited)} is missing or was edited: restore it, only its struct may change"
            return
        if (publisher := self.contracts.catalog.publisher_of(event_type)) != locked.publisher:
            yield f"its publisher was {locked.publisher}, is {publisher}: that takes an event with another name"
        if (entity := entity_field(event_type)) != locked.entity:
            yield f"its entity was {locked.entity}, is {entity}: that takes an event with another name"
        if version not in {locked.version, locked.version + 1}:
            yield f"SCHEMA_VERSION must be {locked.version} or {locked.version + 1}"
        if version == locked.version:
            yield from self._changes(event_type)

    def _changes(self, event_type: type[Event]) -> Iterator[str]:
        name, version = event_type.__name__, event_type.SCHEMA_VERSION
        changes = incompatible_changes(self.released.schema(name, version), schema_of(event_type))
        yield from map(str, changes)
        if changes:
            yield (
                f"undo this, or set SCHEMA_VERSION to {version + 1}, write the upcaster of version {version} "
                f"and keep a sample of it, {name}.v{version}.json"
            )

    def _unreadable_versions(self, event_type: type[Event]) -> Iterator[str]:
        """Samples and schemas that are missing, and why events of earlier versions cannot be read."""
        name, current = event_type.__name__, event_type.SCHEMA_VERSION
        for version in range(1, current + 1):
            samples = sorted(self.samples.glob(f"{name}.v{version}[.+]*"))
            if not (self.samples / f"{name}.v{version}.json").exists():
                yield f"{name}.v{version}.json is missing: a sample of version {version} as it is published"
            if version == current:
                continue
            if schema_path(name, version) not in self.released.files:
                yield f"{schema_path(name, version)} is missing: the schema of version {version}"
                continue
            for sample in samples:
                yield from self._sample_problems(event_type, version, sample)

    def _sample_problems(
        self, event_type: type[Event], version: int, sample: Path
    ) -> Iterator[str]:
        name = event_type.__name__
        data = msgspec.json.decode(sample.read_bytes())["data"]
        try:
            jsonschema_rs.validate(self.released.schema(name, version), data)
            self.contracts.catalog.decode(name, version, msgspec.json.encode(data))
        except jsonschema_rs.ValidationError as error:
            yield f"{sample.name} is no event of version {version}: {error.message}"
        except (DecodeError, msgspec.ValidationError, LookupError) as error:
            yield f"{sample.name} cannot be read, its upcaster is missing or wrong: {error}"

    def _unchanged_versions(self) -> Iterator[type[Event]]:
        for name, event_type in self.contracts.catalog.event_types.items():
            locked = self.released.events.get(name)
            if locked and locked.version == event_type.SCHEMA_VERSION:
                yield event_type

    def _notes_of(self, event_type: type[Event]) -> Iterator[str]:
        name, version = event_type.__name__, event_type.SCHEMA_VERSION
        fields = widened_fields(self.released.schema(name, version), schema_of(event_type))
        if fields:
            consumers = _listed(self.contracts.consumers[name])
            yield f"{name} v{version}: {_listed(fields)} accepts more than before; upgrade first: {consumers}."


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"
