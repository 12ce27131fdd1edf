"""How far each source's log was applied, and the events that are held: an earlier one is missing, or they diverge.

Positions are contiguous from 1, so a missing event is noticed, and those beyond it wait for it. A position belongs to
the event that was received first. Another event that claims it diverges: a service's database was restored from an
older copy, or somebody else published in its name. It is held until an operator forgets it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    select,
)

from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.cloudevents import read_position
from shared.chassis.messages.received import MalformedMessage, Message, receive
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import Rows, insert_missing, read_rows, upsert
from shared.chassis.storage.dead_letters import body_of
from shared.chassis.storage.sql import execute_many

MAX_AT_ONCE = 512
MAX_AHEAD = 100_000
"""Positions beyond the last applied one; an event further ahead is held, but not waited for."""
MAX_REPORTED = 100
"""Divergences of one source that are logged and looked at; all of them are held, and listed on request."""
_LAST_POSITION = 10**18

SourcePosition = tuple[str, int]
"""A source, and a position in its log."""


class CheckpointTables:
    """The tables of a service that applies each source's events in order."""

    def __init__(self, metadata: MetaData) -> None:
        self.positions = Table(
            "positions",
            metadata,
            Column("source", Text, primary_key=True),
            Column("applied", Integer, nullable=False),
        )
        self.passed_over = Table(
            "passed_over",
            metadata,
            Column("source", Text, primary_key=True),
            Column("position", Integer, primary_key=True, autoincrement=False),
            Column("event_id", Text, nullable=False),
            comment="applied positions whose event is a dead letter, not in the archive",
        )
        self.held = Table(
            "held_events",
            metadata,
            Column("held_id", Integer, primary_key=True, comment="in the order of arrival"),
            Column("source", Text, nullable=False),
            Column("position", Integer, nullable=False),
            Column("event_id", Text, nullable=False),
            Column("subject", Text, nullable=False),
            Column("body", Text, nullable=False),
            UniqueConstraint("source", "position", "event_id"),
        )


class Positioned(NamedTuple):
    """A message that has a position in a source's log, even if its data cannot be decoded."""

    source: str
    position: int
    event_id: str
    message: Message

    @property
    def source_position(self) -> SourcePosition:
        return self.source, self.position


class Sequenced(NamedTuple):
    """Received events, by whether it is their turn."""

    ready: list[Positioned]
    """Those whose turn it is, in order."""
    early: list[Positioned]
    """Those that wait for another one."""
    late: list[Positioned]
    """Those at a position that was applied: the same event again, or a diverging one."""


class Divergence(NamedTuple):
    """A held event that is not waited for."""

    source: str
    position: int
    event_id: str
    applied_event_id: str | None
    """The event that was applied at its position; None for an event too far ahead."""


class Progress(NamedTuple):
    """How far the sources are applied, and what is missing."""

    positions: dict[str, int]
    """The last applied position of each source."""
    missing: dict[str, int]
    """The position, by source, of an event that later ones wait for."""
    divergences: list[Divergence]


def positioned(messages: Iterable[Message], catalog: Catalog) -> list[Positioned]:
    """Those of the messages that have a position.

    An event of a type newer than this release has one too: it is passed over, and only its own entity waits for it.
    """
    return [event for message in messages if (event := _positioned(message, catalog))]


def sequence(applied: dict[str, int], received: Iterable[Positioned]) -> Sequenced:
    """Of several events that claim one position, the first counts; advances `applied`."""
    ready: list[Positioned] = []
    early: dict[SourcePosition, Positioned] = {}
    late: list[Positioned] = []
    for event in received:
        source = event.source
        if event.position <= applied.get(source, 0) or event.source_position in early:
            late.append(event)
            continue
        early[event.source_position] = event
        while following := early.pop((source, applied.get(source, 0) + 1), None):
            ready.append(following)
            applied[source] = following.position
    return Sequenced(ready, list(early.values()), late)


class Checkpoints:
    """Reads and writes them; `archive` is the table of applied events, with source, position and event_id."""

    def __init__(self, tables: CheckpointTables, archive: Table, catalog: Catalog) -> None:
        self._tables = tables
        self._archive = archive
        self.catalog = catalog
        self._sources = sorted(catalog.sources)
        held = tables.held
        self._held_beyond = (
            select(held)
            .where(held.c.source == bindparam("held_of"))
            .where(held.c.position > bindparam("beyond"))
            .where(held.c.position <= bindparam("up_to"))
            .order_by(held.c.position, held.c.held_id)
            .limit(bindparam("most"))
        )
        self._holds_any = select(held.c.source).limit(1)
        self._release = delete(held).where(
            held.c.source == bindparam("held_of"),
            held.c.position == bindparam("held_at"),
            held.c.event_id == bindparam("released"),
        )
        passed_over = tables.passed_over
        self._restore = delete(passed_over).where(
            passed_over.c.source == bindparam("of"), passed_over.c.position == bindparam("at")
        )

    def load(self, connection: Connection) -> dict[str, int]:
        """The last applied position of each source."""
        rows = read_rows(connection, self._tables.positions)
        return {row["source"]: row["applied"] for row in rows}

    def save(self, connection: Connection, applied: Mapping[str, int]) -> None:
        rows = [{"source": source, "applied": position} for source, position in applied.items()]
        upsert(connection, self._tables.positions, rows)

    def take(
        self, connection: Connection, applied: dict[str, int], messages: Iterable[Message]
    ) -> list[Positioned]:
        """The events that directly follow the applied ones, with the held ones that they release; advances `applied`.

        The others are held, unless they are what was applied at their position before.
        """
        received = positioned(messages, self.catalog)
        if self._reaches_held(connection, applied, received):
            late = [event for event in received if event.position <= applied.get(event.source, 0)]
            early = [event for event in received if event.position > applied.get(event.source, 0)]
            self._hold(connection, early)  # behind those received before, which come first
            ready = self._release_ready(connection, applied, {event.source for event in early})
        else:
            ready, early, late = sequence(applied, received)
            self._hold(connection, early)
        ids = self.applied_ids(connection, {event.source_position for event in late})
        ids |= {event.source_position: event.event_id for event in ready}
        self._hold(
            connection,
            [event for event in late if ids.get(event.source_position) != event.event_id],
        )
        passed_over = [event for event in ready if not isinstance(event.message, RecordedEvent)]
        self._pass_over(connection, passed_over)
        return ready

    def progress(self, connection: Connection, applied: dict[str, int]) -> Progress:
        """What people need to know: the positions, and what keeps the rows from being complete."""
        if not self._holds_events(connection):
            return Progress(applied, {}, [])
        return Progress(
            applied, self._missing(connection, applied), self._divergences(connection, applied)
        )

    def forget(self, connection: Connection, source: str, position: int, event_id: str) -> bool:
        """Delete a held event; whether there was one."""
        held = {"held_of": source, "held_at": position, "released": event_id}
        return connection.execute(self._release, held).rowcount > 0

    def note_archived(self, connection: Connection, events: Iterable[SourcePosition]) -> None:
        """The archive contains these events now: they are no longer passed over."""
        rows = [{"of": source, "at": position} for source, position in events]
        execute_many(connection, self._restore, rows)

    def applied_ids(
        self, connection: Connection, source_positions: Iterable[SourcePosition]
    ) -> dict[SourcePosition, str]:
        """The ids of the events that were applied or passed over at these positions."""
        positions: dict[str, list[int]] = {}
        for source, position in source_positions:
            positions.setdefault(source, []).append(position)
        ids: dict[SourcePosition, str] = {}
        for table in (self._archive, self._tables.passed_over):
            for source, of_source in positions.items():
                query = select(table.c.position, table.c.event_id).where(
                    table.c.source == source, table.c.position.in_(of_source)
                )
                for position, event_id in connection.execute(query):
                    ids[source, position] = event_id
        return ids

    def _missing(self, connection: Connection, applied: Mapping[str, int]) -> dict[str, int]:
        """The position that held events wait for, of each source that has any within reach."""
        return {
            source: last + 1
            for source in self._sources
            if self._held(connection, source, last := applied.get(source, 0), last + MAX_AHEAD, 1)
        }

    def _divergences(self, connection: Connection, applied: Mapping[str, int]) -> list[Divergence]:
        """The held events that are not waited for; of each source, the first ones."""
        rows: Rows = []
        for source in self._sources:
            last = applied.get(source, 0)
            rows += self._held(connection, source, 0, last, MAX_REPORTED)
            rows += self._held(connection, source, last + MAX_AHEAD, _LAST_POSITION, MAX_REPORTED)
        ids = self.applied_ids(connection, [(row["source"], row["position"]) for row in rows])
        return [
            Divergence(
                source=row["source"],
                position=row["position"],
                event_id=row["event_id"],
                applied_event_id=ids.get((row["source"], row["position"])),
            )
            for row in rows
        ]

    def _reaches_held(
        self, connection: Connection, applied: Mapping[str, int], received: Iterable[Positioned]
    ) -> bool:
        """Whether the turn of a held event may come with these, or one of these claims its position."""
        if not self._holds_events(connection):
            return False
        last: dict[str, int] = {}
        for event in received:
            last[event.source] = max(event.position, last.get(event.source, 0))
        return any(
            self._held(connection, source, applied.get(source, 0), position + 1, 1)
            for source, position in last.items()
        )

    def _holds_events(self, connection: Connection) -> bool:
        return connection.execute(self._holds_any).first() is not None

    def _held(
        self, connection: Connection, source: str, beyond: int, up_to: int, most: int
    ) -> Rows:
        """The source's held events by position; of one position, in the order of their arrival."""
        bounds = {"held_of": source, "beyond": beyond, "up_to": up_to, "most": most}
        return read_rows(connection, self._tables.held, self._held_beyond.params(bounds))

    def _release_ready(
        self, connection: Connection, applied: dict[str, int], sources: Iterable[str]
    ) -> list[Positioned]:
        """Remove and return the held events of these sources that directly follow the applied ones."""
        released: list[Positioned] = []
        for source in sources:
            while True:
                last = applied.get(source, 0)
                rows = self._held(connection, source, last, _LAST_POSITION, MAX_AT_ONCE)
                ready = sequence(applied, [_from_row(row, self.catalog) for row in rows]).ready
                if not ready:
                    break
                keys = [
                    {"held_of": event.source, "held_at": event.position, "released": event.event_id}
                    for event in ready
                ]
                execute_many(connection, self._release, keys)
                released += ready
        return released

    def _hold(self, connection: Connection, events: Iterable[Positioned]) -> None:
        insert_missing(connection, self._tables.held, [_held_row(event) for event in events])

    def _pass_over(self, connection: Connection, events: Iterable[Positioned]) -> None:
        """Note which events were at these positions: the archive does not contain them."""
        rows = [
            {"source": event.source, "position": event.position, "event_id": event.event_id}
            for event in events
        ]
        insert_missing(connection, self._tables.passed_over, rows)


def _positioned(message: Message, catalog: Catalog) -> Positioned | None:
    if not isinstance(message, MalformedMessage):
        return Positioned(message.source, message.position, message.event_id, message)
    position = read_position(message.subject, message.body, catalog)
    return Positioned(*position, message) if position else None


def _held_row(event: Positioned) -> dict[str, object]:
    return {
        "source": event.source,
        "position": event.position,
        "event_id": event.event_id,
        "subject": event.message.subject,
        "body": body_of(event.message).decode(errors="backslashreplace"),
    }


def _from_row(row: Mapping[str, object], catalog: Catalog) -> Positioned:
    message = receive(str(row["subject"]), str(row["body"]).encode(), catalog)
    return Positioned(str(row["source"]), int(str(row["position"])), str(row["event_id"]), message)
