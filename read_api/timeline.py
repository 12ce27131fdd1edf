"""An order's events in causal order: what made what, and how long it took."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush

from read_api.schemas import Cause, Entry, EventView, Timeline
from shared.contracts import (
    OrderCancelled,
    OrderCompleted,
    OrderFailed,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentFailed,
    StockReservationFailed,
    StockReserved,
)

ENDS = frozenset(kind.__name__ for kind in (OrderCompleted, OrderCancelled, OrderFailed))

HEARD_BY_ORDER = frozenset(
    kind.__name__
    for kind in (
        StockReserved,
        StockReservationFailed,
        ShipmentCompleted,
        ShipmentFailed,
        ShipmentCancelled,
        ShipmentCancellationRefused,
    )
)
"""What moves an order; of an order that has ended, one that moved nothing was late."""


def timeline(order_id: str, events: Sequence[EventView]) -> Timeline:
    """The timeline of an order's events, in whatever order they are given."""
    known = {event.event_id: event for event in events}
    in_order = causal_order(known)
    has_ended = any(event.type in ENDS for event in events)
    causes = {event.causation_id for event in events if event.source == "order"}
    return Timeline(
        order_id=order_id,
        items=[
            _entry(
                event,
                known,
                in_order[0].recorded_at,
                late=has_ended and event.type in HEARD_BY_ORDER and event.event_id not in causes,
            )
            for event in in_order
        ],
    )


def causal_order(events: Mapping[str, EventView]) -> list[EventView]:
    """Every event behind its cause, else by time, then by its position in its service's log.

    Clocks of several machines differ, so time alone would put effects before causes.
    """
    effects: dict[str, list[EventView]] = defaultdict(list)
    free: list[tuple[datetime, str, int, str]] = []
    for event in events.values():
        if event.causation_id and event.causation_id in events:
            effects[event.causation_id].append(event)
        else:
            heappush(free, _by_time(event))
    ordered: list[EventView] = []
    while free:
        event = events[heappop(free)[-1]]
        ordered.append(event)
        for effect in effects[event.event_id]:
            heappush(free, _by_time(effect))
    return ordered + _in_circles(events, ordered)


def _in_circles(events: Mapping[str, EventView], ordered: Sequence[EventView]) -> list[EventView]:
    """Events that claim to have caused each other: nobody of ours writes them, but they are shown."""
    placed = {event.event_id for event in ordered}
    left = [event for event in events.values() if event.event_id not in placed]
    return sorted(left, key=_by_time)


def _by_time(event: EventView) -> tuple[datetime, str, int, str]:
    return event.recorded_at, event.source, event.position, event.event_id


def _entry(
    event: EventView, known: Mapping[str, EventView], started_at: datetime, *, late: bool
) -> Entry:
    cause = known.get(event.causation_id) if event.causation_id else None
    return Entry(
        event_id=event.event_id,
        type=event.type,
        source=event.source,
        cause=Cause(event_id=event.causation_id, type=cause.type if cause else None)
        if event.causation_id
        else None,
        recorded_at=event.recorded_at,
        latency_ms=_milliseconds(cause.recorded_at, event.recorded_at) if cause else None,
        since_start_ms=_milliseconds(started_at, event.recorded_at),
        late=late,
        data=event.data,
    )


def _milliseconds(begin: datetime, end: datetime) -> float:
    return round((end - begin).total_seconds() * 1000, 1)
