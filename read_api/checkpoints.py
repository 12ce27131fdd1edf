"""Where the projection stands in each source's log, and the events that are held beside it.

Positions are contiguous from 1, so a missing event is noticed, and what lies beyond it waits for it. A position belongs
to the event that was received first; another event that claims it is held until an operator forgets it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from read_api.tables import EVENTS, HELD_EVENTS, PASSED_OVER, POSITIONS
from shared.chassis.engine.unit_of_work import Message
from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.cloudevents import decode, encode, read_position
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.database import insert_missing, read_rows, upsert
from shared.chassis.storage.dead_letters import MalformedMessage
from shared.chassis.storage.sql import execute_many
from shared.contracts import CATALOG

MAX_AT_ONCE = 512
MAX_AHEAD = 100_000
"""Positions beyond the last applied one; an event further ahead is held, but not waited for."""

Place = tuple[str, int]
"""A source, and a position in its log."""

_HELD_BEYOND = (
    select(HELD_EVENTS)
    .where(HELD_EVENTS.c.source == bindparam("held_of"))
    .where(HELD_EVENTS.c.position > bindparam("beyond"))
    .order_by(HELD_EVENTS.c.position, HELD_EVENTS.c.held_id)
    .limit(MAX_AT_ONCE)
)
_HOLDS_ANY = select(HELD_EVENTS.c.source).limit(1)
_HOLDS = (
    select(HELD_EVENTS.c.source)
    .where(HELD_EVENTS.c.source == bindparam("held_of"))
    .where(HELD_EVENTS.c.position > bindparam("beyond"))
    .where(HELD_EVENTS.c.position <= bindparam("up_to"))
    .limit(1)
)
_RELEASE = delete(HELD_EVENTS).where(
    HELD_EVENTS.c.source == bindparam("held_of"),
    HELD_EVENTS.c.position == bindparam("held_at"),
    HELD_EVENTS.c.event_id == bindparam("released"),
)


class Placed(NamedTuple):
    """A message that has a position in a source's log, even where its data cannot be read."""

    source: str
    position: int
    event_id: str
    message: Message

    @property
    def place(self) -> Place:
        """What no other event of the source may claim."""
        return self.source, self.position


def placed(messages: Iterable[Message]) -> list[Placed]:
    """Those of the messages that have a position.

    An event of a type newer than we are has one too: it is passed over, and those behind it are not.
    """
    found = [_placed(message) for message in messages]
    return [one for one in found if one]


def _placed(message: Message) -> Placed | None:
    if isinstance(message, RecordedEvent):
        return Placed(message.source, message.position, message.event_id, message)
    found = read_position(message.subject, message.body, CATALOG)
    return Placed(*found, message) if found else None


class Arranged(NamedTuple):
    """Received events, sorted out."""

    ready: list[Placed]
    """Those whose turn it is, in order."""
    early: list[Placed]
    """Those that wait for another one."""
    late: list[Placed]
    """Those whose position is another one's, or their own from before."""


def arrange(applied: dict[str, int], received: Iterable[Placed]) -> Arranged:
    """Of several that claim one position, the first counts; moves `applied` along."""
    ready: list[Placed] = []
    early: dict[Place, Placed] = {}
    late: list[Placed] = []
    for one in received:
        source = one.source
        if one.position <= applied.get(source, 0) or one.place in early:
            late.append(one)
            continue
        early[one.place] = one
        while following := early.pop((source, applied.get(source, 0) + 1), None):
            ready.append(following)
            applied[source] = following.position
    return Arranged(ready, list(early.values()), late)


def take(
    connection: Connection, applied: dict[str, int], received: Sequence[Placed]
) -> list[Placed]:
    """Those whose turn it is, with the held ones that they release; moves `applied` along.

    The others are held, unless they are what was applied at their position before.
    """
    if _reaches_held(connection, applied, received):
        late = [one for one in received if one.position <= applied.get(one.source, 0)]
        early = [one for one in received if one.position > applied.get(one.source, 0)]
        _hold(connection, early)  # behind those received before, which come first
        ready = _release(connection, applied, {one.source for one in early})
    else:
        ready, early, late = arrange(applied, received)
        _hold(connection, early)
    ids = applied_ids(connection, {one.place for one in late})
    ids |= {one.place: one.event_id for one in ready}
    _hold(connection, [one for one in late if ids.get(one.place) != one.event_id])
    return ready


def applied_ids(connection: Connection, wanted: Iterable[Place]) -> dict[Place, str]:
    """The events applied or passed over at these positions."""
    positions: dict[str, list[int]] = {}
    for source, position in wanted:
        positions.setdefault(source, []).append(position)
    found: dict[Place, str] = {}
    for table in (EVENTS, PASSED_OVER):
        for source, of_source in positions.items():
            query = select(table.c.position, table.c.event_id).where(
                table.c.source == source, table.c.position.in_(of_source)
            )
            for position, event_id in connection.execute(query):
                found[source, position] = event_id
    return found


def pass_over(connection: Connection, events: Iterable[Placed]) -> None:
    """Note which events were at these positions: the combined log does not contain them."""
    rows = [
        {"source": one.source, "position": one.position, "event_id": one.event_id} for one in events
    ]
    insert_missing(connection, PASSED_OVER, rows)


def load(connection: Connection) -> dict[str, int]:
    """The last applied position of each source."""
    return {row["source"]: row["applied"] for row in read_rows(connection, POSITIONS)}


def save(connection: Connection, applied: dict[str, int]) -> None:
    """From now on these are applied."""
    rows = [{"source": source, "applied": position} for source, position in applied.items()]
    upsert(connection, POSITIONS, rows)


def holds_any(connection: Connection) -> bool:
    """Whether any event is held."""
    return connection.execute(_HOLDS_ANY).first() is not None


def missing(
    connection: Connection, applied: dict[str, int], sources: Iterable[str]
) -> dict[str, int]:
    """The position that held events wait for, of those of `sources` that have any within reach."""
    if not holds_any(connection):
        return {}
    return {
        source: applied.get(source, 0) + 1
        for source in sources
        if _holds(connection, source, applied.get(source, 0), applied.get(source, 0) + MAX_AHEAD)
    }


def _reaches_held(
    connection: Connection, applied: dict[str, int], received: Iterable[Placed]
) -> bool:
    """Whether the turn of a held event may come with these, or one of these claims its position."""
    if not holds_any(connection):
        return False
    last: dict[str, int] = {}
    for one in received:
        last[one.source] = max(one.position, last.get(one.source, 0))
    return any(
        _holds(connection, source, applied.get(source, 0), position + 1)
        for source, position in last.items()
    )


def _holds(connection: Connection, source: str, beyond: int, up_to: int) -> bool:
    bounds = {"held_of": source, "beyond": beyond, "up_to": up_to}
    return connection.execute(_HOLDS, bounds).first() is not None


def _release(
    connection: Connection, applied: dict[str, int], sources: Iterable[str]
) -> list[Placed]:
    """The held events of these sources whose turn it is; they are held no more."""
    released: list[Placed] = []
    for source in sources:
        while True:
            ready = arrange(applied, _held(connection, source, applied.get(source, 0))).ready
            if not ready:
                break
            keys = [
                {"held_of": one.source, "held_at": one.position, "released": one.event_id}
                for one in ready
            ]
            execute_many(connection, _RELEASE, keys)
            released += ready
    return released


def _held(connection: Connection, source: str, beyond: int) -> list[Placed]:
    """The held events of this source that are next in turn; of one position, in the order of their arrival."""
    rows = read_rows(connection, HELD_EVENTS, _HELD_BEYOND.params(held_of=source, beyond=beyond))
    return [
        Placed(source, row["position"], row["event_id"], _read(row["subject"], row["body"]))
        for row in rows
    ]


def _read(subject: str, body: str) -> Message:
    try:
        return decode(subject, body.encode(), CATALOG)
    except DecodeError as error:
        return MalformedMessage(subject=subject, body=body.encode(), error=str(error))


def _hold(connection: Connection, events: Iterable[Placed]) -> None:
    rows = [
        {
            "source": one.source,
            "position": one.position,
            "event_id": one.event_id,
            "subject": one.message.subject,
            "body": _body(one.message).decode(errors="backslashreplace"),
        }
        for one in events
    ]
    insert_missing(connection, HELD_EVENTS, rows)


def _body(message: Message) -> bytes:
    return encode(message) if isinstance(message, RecordedEvent) else message.body
