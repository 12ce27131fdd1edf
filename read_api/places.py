"""Where the projection stands in each source's log, and the events that came before their turn.

Positions are contiguous from 1, so a missing event is noticed, and what lies beyond it waits for it.
"""

from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from read_api.tables import HELD_EVENTS, POSITIONS
from shared.batch import Message
from shared.contracts.recorded import Recorded, Undecodable, decode, encode
from shared.database import insert_missing, read_rows, upsert
from shared.dead_letter import Unreadable

MOST_AT_ONCE = 512

_HELD = (
    select(HELD_EVENTS)
    .where(HELD_EVENTS.c.source == bindparam("held_of"))
    .where(HELD_EVENTS.c.position > bindparam("beyond"))
    .order_by(HELD_EVENTS.c.position)
    .limit(MOST_AT_ONCE)
)
_FORGET = (
    delete(HELD_EVENTS)
    .where(HELD_EVENTS.c.source == bindparam("held_of"))
    .where(HELD_EVENTS.c.position <= bindparam("up_to"))
)
_HOLDING = select(HELD_EVENTS.c.source).distinct()
_HOLDS_ANY = select(HELD_EVENTS.c.source).limit(1)
_HOLDS = select(HELD_EVENTS.c.source).where(HELD_EVENTS.c.source == bindparam("held_of")).limit(1)


class Placed(NamedTuple):
    """A message that has a place in a source's log, even where nothing more can be read of it."""

    source: str
    position: int
    message: Message


class _Claim(msgspec.Struct, frozen=True):
    """All that is read of a message that is no event we know: whose it claims to be, and where."""

    source: Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,32}$(?!\n)")]
    sequence: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12,18}$(?!\n)")]


def placed(messages: Iterable[Message]) -> list[Placed]:
    """Those of the messages that have a place.

    An event of a type newer than we are has one too: it is passed over, and those behind it are not.
    """
    found = [_placed(message) for message in messages]
    return [one for one in found if one]


def _placed(message: Message) -> Placed | None:
    if isinstance(message, Recorded):
        return Placed(message.source, message.position, message)
    try:
        claim = _read_claim(message.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not message.subject.startswith(f"shop.{claim.source}."):
        return None
    return Placed(claim.source, int(claim.sequence), message)


def arrange(
    applied: dict[str, int], arrived: Iterable[Placed]
) -> tuple[list[Placed], list[Placed]]:
    """Those whose turn it is, in order, and those that are too early; moves `applied` along.

    What was applied before is in neither.
    """
    ready: list[Placed] = []
    early: dict[tuple[str, int], Placed] = {}
    for one in arrived:
        source = one.source
        if one.position <= applied.get(source, 0):
            continue
        early[source, one.position] = one
        while following := early.pop((source, applied.get(source, 0) + 1), None):
            ready.append(following)
            applied[source] = following.position
    return ready, list(early.values())


def take(connection: Connection, applied: dict[str, int], arrived: list[Placed]) -> list[Placed]:
    """Those whose turn it is, with the held ones that they release; the others are held."""
    ready, early = arrange(applied, arrived)
    released = ready if _holds_any(connection) else []
    while released:
        sources = {one.source for one in released}
        _forget_held(connection, applied, sources)
        held = _held(connection, applied, sources)
        released, early = arrange(applied, [*held, *early])
        ready = ready + released
    _hold(connection, early)
    return ready


def load(connection: Connection) -> dict[str, int]:
    """The last applied position of each source."""
    return {row["source"]: row["applied"] for row in read_rows(connection, POSITIONS)}


def save(connection: Connection, applied: dict[str, int]) -> None:
    """From now on these are applied."""
    rows = [{"source": source, "applied": position} for source, position in applied.items()]
    upsert(connection, POSITIONS, rows)


def holding(connection: Connection) -> list[str]:
    """The sources of which events are held."""
    return list(connection.execute(_HOLDING).scalars())


def missing(
    connection: Connection, applied: dict[str, int], sources: Iterable[str]
) -> dict[str, int]:
    """The position that held events wait for, of those of `sources` that have any."""
    if not _holds_any(connection):
        return {}
    return {
        source: applied.get(source, 0) + 1
        for source in sources
        if connection.execute(_HOLDS, {"held_of": source}).first()
    }


def _holds_any(connection: Connection) -> bool:
    return connection.execute(_HOLDS_ANY).first() is not None


def _held(connection: Connection, applied: dict[str, int], sources: set[str]) -> list[Placed]:
    """The held events next in turn of these sources."""
    found = []
    for source in sources:
        query = _HELD.params(held_of=source, beyond=applied[source])
        rows = read_rows(connection, HELD_EVENTS, query)
        found += [
            Placed(source, row["position"], _read(row["subject"], row["body"])) for row in rows
        ]
    return found


def _read(subject: str, body: str) -> Message:
    try:
        return decode(subject, body.encode())
    except Undecodable as error:
        return Unreadable(subject=subject, body=body.encode(), error=str(error))


def _hold(connection: Connection, early: Iterable[Placed]) -> None:
    rows = [
        {
            "source": one.source,
            "position": one.position,
            "subject": one.message.subject,
            "body": _body(one.message).decode(errors="backslashreplace"),
        }
        for one in early
    ]
    insert_missing(connection, HELD_EVENTS, rows)


def _body(message: Message) -> bytes:
    return encode(message) if isinstance(message, Recorded) else message.body


def _forget_held(connection: Connection, applied: dict[str, int], sources: Iterable[str]) -> None:
    for source in sources:
        connection.execute(_FORGET, {"held_of": source, "up_to": applied[source]})


_read_claim = msgspec.json.Decoder(_Claim).decode
