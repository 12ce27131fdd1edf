"""Held events for people: what waits for its turn, what contradicts a log that was applied, and how to remove it.

Events diverge when two of them claim one position: a service's database was restored from an older copy, or somebody
else published in its name. Neither is dropped: one is applied, the other held.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from read_api import checkpoints
from read_api.checkpoints import MAX_AHEAD
from read_api.tables import HELD_EVENTS
from shared.chassis.storage.database import Rows, read_rows
from shared.contracts import CATALOG

MAX_REPORTED = 100
"""Divergences of one source that are logged and looked at; all of them are held, and listed on request."""

_BETWEEN = (
    select(HELD_EVENTS)
    .where(HELD_EVENTS.c.source == bindparam("held_of"))
    .where(HELD_EVENTS.c.position > bindparam("beyond"))
    .where(HELD_EVENTS.c.position <= bindparam("up_to"))
    .order_by(HELD_EVENTS.c.position, HELD_EVENTS.c.held_id)
    .limit(MAX_REPORTED)
)
_LAST_POSITION = 10**18


class Divergence(NamedTuple):
    """A held event that is not waited for."""

    source: str
    position: int
    event_id: str
    applied_event_id: str | None
    """What was applied at its position; None for an event too far ahead."""


def find(connection: Connection, applied: Mapping[str, int]) -> list[Divergence]:
    """The held events that are not waited for; of each source, the first ones."""
    if not checkpoints.holds_any(connection):
        return []
    rows: Rows = []
    for source in sorted(CATALOG.sources):
        last = applied.get(source, 0)
        for beyond, up_to in ((0, last), (last + MAX_AHEAD, _LAST_POSITION)):
            bounds = {"held_of": source, "beyond": beyond, "up_to": up_to}
            rows += read_rows(connection, HELD_EVENTS, _BETWEEN.params(bounds))
    ids = checkpoints.applied_ids(connection, [(row["source"], row["position"]) for row in rows])
    return [
        Divergence(
            source=row["source"],
            position=row["position"],
            event_id=row["event_id"],
            applied_event_id=ids.get((row["source"], row["position"])),
        )
        for row in rows
    ]


def reasons(divergences: Iterable[Divergence], applied: Mapping[str, int]) -> list[str]:
    """One sentence for each source."""
    sentences = []
    for source, of_source in groupby(divergences, attrgetter("source")):
        first, *others = of_source
        if first.applied_event_id:
            what = f"event {first.applied_event_id} was applied, event {first.event_id} is held"
        else:
            ahead = first.position - applied.get(source, 0)
            what = f"event {first.event_id} is {ahead} positions ahead and held"
        more = "; so do others" if others else ""
        sentences.append(f"{source}'s log diverges at position {first.position}: {what}{more}")
    return sentences


def first_positions(divergences: Iterable[Divergence]) -> dict[str, int]:
    """The first position of each source that diverges."""
    positions: dict[str, int] = {}
    for found in divergences:
        positions.setdefault(found.source, found.position)
    return positions


def forget(connection: Connection, source: str, position: int, event_id: str) -> bool:
    """Remove a held event; whether there was one."""
    statement = delete(HELD_EVENTS).where(
        HELD_EVENTS.c.source == source,
        HELD_EVENTS.c.position == position,
        HELD_EVENTS.c.event_id == event_id,
    )
    return connection.execute(statement).rowcount > 0
