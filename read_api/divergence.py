"""Diverging events for people: what was applied, and what is held in its place."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from shared.chassis.storage.checkpoints import Divergence


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
