"""The event types of a system by name, the service that publishes each, and how old schema versions are read."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import IDENTITY, LinkKeyPublished
from shared.chassis.messages.system_events import SYSTEM

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the data of one schema version into the data of the next."""
Upcasters = Mapping[tuple[str, int], Upcaster]
"""By the event's name and the version that is read."""


class DecodeError(Exception):
    """The message is not an event of the catalog; the text is the reason."""


class Catalog:
    """Passed to whatever reads events, so that the chassis needs no registry of its own."""

    def __init__(
        self,
        event_types: Iterable[type[Event]],
        *,
        key_issuer: str,
        link_issuer: str | None = None,
        upcasters: Upcasters | None = None,
        documents: Path | None = None,
    ) -> None:
        """`key_issuer` is the service that alone signs access tokens, `link_issuer` the one that signs links in mails.

        `documents` is the directory of the generated descriptions of the events.
        """
        self.documents = documents
        self._publishers: dict[type[Event], str] = dict.fromkeys(IDENTITY, key_issuer)
        if link_issuer:
            self._publishers[LinkKeyPublished] = link_issuer
        for event_type in event_types:
            if event_type.SOURCE is None:
                raise TypeError(f"{event_type.__name__} does not name its publisher")
            self._publishers[event_type] = event_type.SOURCE
        self._upcasters = upcasters or {}
        all_types: list[type[Event]] = [*self._publishers, *SYSTEM]
        self.event_types: Mapping[str, type[Event]] = {
            event_type.__name__: event_type for event_type in all_types
        }
        self.sources = frozenset(self._publishers.values())
        """Every service that has an event log."""

    @classmethod
    def of(
        cls,
        *contracts: ModuleType,
        key_issuer: str,
        link_issuer: str | None = None,
        upcasters: Upcasters | None = None,
        documents: Path | None = None,
    ) -> "Catalog":
        """Every event class that these modules define, without the base classes, and the chassis's own events."""
        event_types = [event_type for module in contracts for event_type in _events_in(module)]
        return cls(
            event_types,
            key_issuer=key_issuer,
            link_issuer=link_issuer,
            upcasters=upcasters,
            documents=documents,
        )

    def publisher_of(self, event_type: type[Event]) -> str | None:
        """The only service that may publish it; None if every service may."""
        return self._publishers.get(event_type)

    def published_by(self, source: str) -> tuple[type[Event], ...]:
        """The events that only this service may publish."""
        return tuple(
            event_type for event_type, publisher in self._publishers.items() if publisher == source
        )

    def may_publish(self, source: str, event_type: str) -> bool:
        """Whether the service exists, and the event is its own, or of a type that is not in the catalog."""
        event_class = self.event_types.get(event_type)
        publisher = self.publisher_of(event_class) if event_class else None
        return source in self.sources and publisher in {None, source}

    def decode(self, event_type: str, version: int, data: msgspec.Raw | bytes | str) -> Event:
        """The event in `data`, converted to its current schema version.

        Raises DecodeError for an unknown type or version, msgspec.ValidationError for data that does not fit it.
        """
        event_class = self.event_types.get(event_type)
        if event_class is None:
            raise DecodeError(f"unknown event type {event_type!r}")
        if version == event_class.SCHEMA_VERSION:
            return decoder(event_class).decode(data)
        fields = msgspec.json.decode(data, type=dict[str, Any])
        try:
            return msgspec.convert(self._upcast(event_class, version, fields), event_class)
        except KeyError as error:
            raise DecodeError(f"unknown schema version {version} of {event_type}") from error

    def _upcast(
        self, event_class: type[Event], version: int, fields: dict[str, Any]
    ) -> dict[str, Any]:
        """The fields converted from one version to the next. Raises KeyError for a version without upcaster."""
        if version > event_class.SCHEMA_VERSION:
            raise KeyError(version)
        for step in range(version, event_class.SCHEMA_VERSION):
            fields = self._upcasters[event_class.__name__, step](fields)
        return fields


@cache
def decoder(event_type: type[Event]) -> msgspec.json.Decoder[Event]:
    """Checks every bound of the event's fields."""
    return msgspec.json.Decoder(event_type)


def _events_in(module: ModuleType) -> list[type[Event]]:
    events = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event)
    ]
    bases = {base for event_type in events for base in event_type.__mro__[1:]}
    return [
        event_type
        for event_type in events
        if event_type not in bases and event_type.__module__ == module.__name__
    ]
