"""An order's events in causal order, each with its cause and how long it took."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush

from read_api.queries.events import events_of_order
from read_api.queries.visibility import unknown_order
from read_api.schemas import Cause, EventView, Timeline, TimelineEvent
from shared.chassis.http.auth import Caller
from shared.chassis.storage.reader import Reader
from shared.contracts import (
    OrderCancelled,
    OrderCompleted,
    OrderFailed,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    StockReservationFailed,
    StockReserved,
)

FINAL_EVENTS = frozenset(
    event_type.__name__ for event_type in (OrderCompleted, OrderCancelled, OrderFailed)
)

CONSUMED_BY_ORDER = frozenset(
    event_type.__name__
    for event_type in (
        StockReserved,
        StockReservationFailed,
        ShipmentDispatched,
        ShipmentCompleted,
        ShipmentFailed,
        ShipmentCancelled,
        ShipmentCancellationRefused,
    )
)
"""Events that change an order. When the order has ended, one of them that caused no event of it came too late."""


async def find_timeline(reader: Reader, caller: Caller, order_id: str) -> Timeline:
    """The timeline of what the caller may see of the order. Raises Rejected."""
    events = await events_of_order(reader, caller, order_id)
    if not events:
        raise unknown_order(order_id)
    return timeline(order_id, events)


def timeline(order_id: str, events: Sequence[EventView]) -> Timeline:
    """The timeline of an order's events, which may be in any order."""
    by_id = {event.event_id: event for event in events}
    ordered = causal_order(by_id)
    has_ended = any(event.type in FINAL_EVENTS for event in events)
    causes = {event.causation_id for event in events if event.source == "order"}
    items = [
        _timeline_event(
            event,
            cause=by_id.get(event.causation_id) if event.causation_id else None,
            started_at=ordered[0].recorded_at,
            late=has_ended and event.type in CONSUMED_BY_ORDER and event.event_id not in causes,
        )
        for event in ordered
    ]
    return Timeline(order_id=order_id, items=items)


def causal_order(events: Mapping[str, EventView]) -> list[EventView]:
    """Every event behind its cause, else by time, then by its position in its service's log.

    Time alone would put effects before causes, because the clocks of several machines differ.
    """
    effects: dict[str, list[EventView]] = defaultdict(list)
    ready: list[tuple[datetime, str, int, str]] = []
    for event in events.values():
        if event.causation_id and event.causation_id in events:
            effects[event.causation_id].append(event)
        else:
            heappush(ready, _by_time(event))
    ordered: list[EventView] = []
    while ready:
        event = events[heappop(ready)[-1]]
        ordered.append(event)
        for effect in effects[event.event_id]:
            heappush(ready, _by_time(effect))
    return ordered + _in_cycles(events, ordered)


def _in_cycles(events: Mapping[str, EventView], ordered: Sequence[EventView]) -> list[EventView]:
    """Events that name each other as causes: our services record none, but others may publish them."""
    ordered_ids = {event.event_id for event in ordered}
    return sorted(
        (event for event in events.values() if event.event_id not in ordered_ids), key=_by_time
    )


def _by_time(event: EventView) -> tuple[datetime, str, int, str]:
    return event.recorded_at, event.source, event.position, event.event_id


def _timeline_event(
    event: EventView, cause: EventView | None, started_at: datetime, *, late: bool
) -> TimelineEvent:
    return TimelineEvent(
        event_id=event.event_id,
        type=event.type,
        source=event.source,
        cause=Cause(event_id=event.causation_id, type=cause.type if cause else None)
        if event.causation_id
        else None,
        actor=event.actor,
        recorded_at=event.recorded_at,
        latency_ms=_milliseconds(cause.recorded_at, event.recorded_at) if cause else None,
        since_start_ms=_milliseconds(started_at, event.recorded_at),
        late=late,
        data=event.data,
    )


def _milliseconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds() * 1000, 1)
