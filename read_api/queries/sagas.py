"""The board: every unfinished order with its past steps, the service that must act next, and what is in its way.

It costs what is unfinished, not what has ended: each part of it is found by an index.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from read_api.models import ShipmentStatus
from read_api.queries.timeline import CONSUMED_BY_ORDER, FINAL_EVENTS
from read_api.queries.usual_times import STEP_EVENTS, RecentOrders, UsualTimes
from read_api.saga_steps import (
    ACTORS,
    OPEN,
    TABLE,
    History,
    SagaEvent,
    Step,
    history_of,
    in_time,
    remaining,
)
from read_api.saga_steps import Row as TableRow
from read_api.schemas import (
    NextStep,
    ParkedEvent,
    PastStep,
    RemainingStep,
    SagaPage,
    SagaView,
)
from read_api.tables import EVENTS, IS_RESERVED, ORDERS, RESERVATIONS, SHIPMENTS
from shared.chassis.http.pagination import from_cursor, page_of, to_cursor
from shared.chassis.messages import clock
from shared.chassis.messages.system_events import (
    EventDeadLettered,
    EventDiscarded,
    EventRedriven,
)
from shared.chassis.storage.database import UtcTime
from shared.chassis.storage.dead_letters import DEAD_LETTER, Status
from shared.chassis.storage.reader import Reader, ResultRows
from shared.chassis.storage.sql import any_of, each_of
from shared.contracts.order import OrderStatus
from shared.settings import ShopSettings

STUCK_SECONDS = 30.0
"""A saga whose last event is younger is not stuck."""
TIMES_USUAL = 3.0
"""A saga is stuck after this many times what nine of ten recent orders took for its step."""
OWN = "read"
ALL = 2**31

DEAD_LETTERED = EventDeadLettered.__name__
SETTLED = (EventRedriven.__name__, EventDiscarded.__name__)


class SagaState(StrEnum):
    """What may be in a saga's way; it may be in several of these states."""

    STUCK = "stuck"
    RETRYING = "retrying"
    PARKED = "parked"
    OVERDUE = "overdue"
    """The delivery deadline has passed."""


class SagaFilter(NamedTuple):
    """Which unfinished sagas; None is all."""

    state: SagaState | None = None
    order_id: str | None = None


def _is(
    column: ColumnElement[Any], statuses: Iterable[StrEnum | None] | None
) -> ColumnElement[bool]:
    """Whether the column has one of these statuses; any, if there are none."""
    if statuses is None:
        return true()
    values = sorted(status for status in statuses if status)
    is_one = column.in_(values)
    return or_(column.is_(None), is_one) if None in statuses else is_one


def _matches(row: TableRow) -> ColumnElement[bool]:
    return and_(
        _is(ORDERS.c.status, row.order),
        _is(RESERVATIONS.c.status, row.reservation),
        _is(SHIPMENTS.c.status, row.shipment),
    )


def _before(step: Step) -> str:
    return f"before_{step.lower()}"


# Refused cancellations are in no row of the projections; until the order resumes, shipping counts as deciding.
_STUCK_BEFORE = case(
    *(
        (_matches(row), bindparam(_before(row.step), type_=UtcTime()))
        for row in TABLE
        if not row.is_refused
    ),
)
_UPDATED = (ORDERS.c.updated_at, RESERVATIONS.c.updated_at, SHIPMENTS.c.updated_at)
_IS_STUCK = and_(*(or_(at.is_(None), at < _STUCK_BEFORE) for at in _UPDATED))
_IS_RETRYING = and_(
    SHIPMENTS.c.status == ShipmentStatus.INITIATED, SHIPMENTS.c.booking_attempts > 0
)

_IS_OVERDUE = and_(
    ORDERS.c.status == OrderStatus.SHIPPED, ORDERS.c.delivery_overdue_at.is_not(None)
)

_AFTER = bindparam("after", type_=Text())
_UNFINISHED = (
    union(
        select(ORDERS.c.order_id).where(
            ORDERS.c.status.in_(sorted(filter(None, OPEN))), ORDERS.c.order_id > _AFTER
        ),
        select(RESERVATIONS.c.order_id).where(IS_RESERVED, RESERVATIONS.c.order_id > _AFTER),
    )
    .order_by("order_id")
    .limit(bindparam("candidates"))
    .subquery("unfinished")
)
_SAGAS = select(
    _UNFINISHED.c.order_id,
    ORDERS.c.status,
    ORDERS.c.created_at,
    ORDERS.c.updated_at,
    ORDERS.c.shipped_at,
    _IS_OVERDUE.label("is_overdue"),
    func.coalesce(SHIPMENTS.c.booking_attempts, 0).label("booking_attempts"),
    _IS_STUCK.label("is_stuck"),
    func.coalesce(_IS_RETRYING, false()).label("is_retrying"),
).select_from(
    _UNFINISHED.outerjoin(ORDERS, ORDERS.c.order_id == _UNFINISHED.c.order_id)
    .outerjoin(RESERVATIONS, RESERVATIONS.c.order_id == _UNFINISHED.c.order_id)
    .outerjoin(SHIPMENTS, SHIPMENTS.c.order_id == _UNFINISHED.c.order_id)
)

_ABOUT_DEAD_LETTERS = (
    select(
        EVENTS.c.entity_id,
        EVENTS.c.source,
        EVENTS.c.event_type,
        EVENTS.c.recorded_at,
        EVENTS.c.data,
    )
    .where(EVENTS.c.event_type.in_((DEAD_LETTERED, *SETTLED)))
    .order_by(EVENTS.c.source, EVENTS.c.position)
)
_OWN_DEAD_LETTERS = (
    select(
        DEAD_LETTER.c.entity_id,
        DEAD_LETTER.c.event_id,
        DEAD_LETTER.c.event_type,
        DEAD_LETTER.c.error,
        DEAD_LETTER.c.dead_lettered_at,
    )
    .where(DEAD_LETTER.c.entity_id.is_not(None), DEAD_LETTER.c.status != Status.DISCARDED)
    .order_by(DEAD_LETTER.c.dead_letter_id)
)


class Board:
    """Finds pages of unfinished sagas."""

    def __init__(self, reader: Reader, settings: ShopSettings) -> None:
        self._reader = reader
        self._settings = settings
        self._recent = RecentOrders(reader)

    async def sagas(self, saga_filter: SagaFilter, cursor: str | None, limit: int) -> SagaPage:
        """The unfinished sagas, oldest first: order ids start with the time."""
        now = clock.now()
        usual = await self._recent.usual_times()
        async with self._reader.snapshot() as connection:
            parameters = _stuck_before(now, usual, self._settings)
            (parameters["after"],) = from_cursor(cursor, tuple[str]) or ("",)
            # A filter may select any of them; without one, only those of the page are joined.
            parameters["candidates"] = limit + 1 if saga_filter == SagaFilter() else ALL
            if saga_filter.state is SagaState.PARKED:
                parameters["parked"] = await _parked_ids(connection)
            rows = (await connection.execute(_select(saga_filter, limit), parameters)).all()
            ids = [row.order_id for row in rows[:limit]]
            events = (await connection.execute(STEP_EVENTS, {"ids": ids})).all()
            parked = await _parked(connection, ids)
        of_order = {
            order_id: list(run) for order_id, run in groupby(events, attrgetter("entity_id"))
        }
        return page_of(
            rows,
            limit,
            lambda row: self._view(row, of_order.get(row.order_id, []), parked, usual, now),
            lambda row: to_cursor(row.order_id),
        )

    def _view(
        self,
        row: Row[Any],
        events: Sequence[SagaEvent],
        parked: Mapping[str, Sequence[ParkedEvent]],
        usual: UsualTimes,
        now: datetime,
    ) -> SagaView:
        history = history_of(events)
        return SagaView(
            order_id=row.order_id,
            status=row.status,
            created_at=row.created_at,
            steps=_past(events),
            next=_next(history, now),
            remaining=_remaining(history, usual),
            deadline_at=self._deadline(row),
            stuck=bool(row.is_stuck),
            retrying=bool(row.is_retrying),
            overdue=bool(row.is_overdue),
            booking_attempts=row.booking_attempts,
            parked=parked.get(row.order_id, []),
        )

    def _deadline(self, row: Row[Any]) -> datetime | None:
        """When the order asks for its own cancellation, or its delivery is overdue; it may have no deadline any more."""
        seconds = self._settings.order_timeouts.get(OrderStatus(row.status)) if row.status else None
        is_shipped = row.status == OrderStatus.SHIPPED
        since: datetime | None = row.shipped_at if is_shipped else row.updated_at
        if seconds is None or since is None or (is_shipped and row.is_overdue):
            return None
        return since + timedelta(seconds=seconds)


def _select(saga_filter: SagaFilter, limit: int) -> Select[Any]:
    query = _SAGAS.order_by(_UNFINISHED.c.order_id).limit(limit + 1)
    match saga_filter.state:
        case SagaState.STUCK:
            query = query.where(_IS_STUCK)
        case SagaState.RETRYING:
            query = query.where(_IS_RETRYING)
        case SagaState.OVERDUE:
            query = query.where(_IS_OVERDUE)
        case SagaState.PARKED:
            query = query.where(_UNFINISHED.c.order_id.in_(select(each_of("parked").c.value)))
        case None:
            pass
    if saga_filter.order_id is not None:
        query = query.where(_UNFINISHED.c.order_id == saga_filter.order_id)
    return query


def _stuck_before(now: datetime, usual: UsualTimes, settings: ShopSettings) -> dict[str, Any]:
    """For each step the time since which something must have happened."""
    return {
        _before(step): now - timedelta(seconds=_patience(step, usual, settings)) for step in Step
    }


def _patience(step: Step, usual: UsualTimes, settings: ShopSettings) -> float:
    """After how many seconds a saga that waits for this step is stuck. How long carriers take is not ours to guess."""
    if step in usual:
        return max(STUCK_SECONDS, TIMES_USUAL * usual[step].p90)
    return max(STUCK_SECONDS, _carrier_seconds(settings).get(step, 0))


def _carrier_seconds(settings: ShopSettings) -> Mapping[Step, float]:
    return {
        Step.BOOK_CARRIER: settings.order_timeout_seconds,
        Step.DELIVER: settings.order_timeouts[OrderStatus.SHIPPED],
    }


def _past(events: Sequence[SagaEvent]) -> list[PastStep]:
    ordered = list(in_time(events))
    has_ended = any(event.type in FINAL_EVENTS for event in ordered)
    causes = {event.causation_id for event in ordered if event.source == "order"}
    return [
        PastStep(
            type=event.type,
            service=event.source,
            recorded_at=event.recorded_at,
            since_start_ms=round(
                (event.recorded_at - ordered[0].recorded_at).total_seconds() * 1000, 1
            ),
            late=has_ended and event.type in CONSUMED_BY_ORDER and event.event_id not in causes,
        )
        for event in ordered
    ]


def _next(history: History, now: datetime) -> NextStep | None:
    if history.step is None or history.since is None:
        return None
    actor = ACTORS[history.step]
    return NextStep(
        step=history.step,
        service=actor.service,
        awaits=actor.awaits,
        since=history.since,
        waited_seconds=round(max((now - history.since).total_seconds(), 0), 3),
    )


def _remaining(history: History, usual: UsualTimes) -> list[RemainingStep]:
    steps = remaining(history.progress)
    times = [(step, usual.get(step)) for step in steps]
    return [
        RemainingStep(
            step=step,
            service=ACTORS[step].service,
            p50_seconds=time.p50 if time else None,
            p90_seconds=time.p90 if time else None,
        )
        for step, time in times
    ]


async def _parked_ids(connection: AsyncConnection) -> list[str]:
    """The entities with dead letters that are neither redriven nor discarded, in any service."""
    published = _published((await connection.execute(_ABOUT_DEAD_LETTERS)).all())
    own = (await connection.execute(_OWN_DEAD_LETTERS)).scalars()
    return [*(entity_id for entity_id, _ in published), *own]


async def _parked(
    connection: AsyncConnection, ids: Sequence[str]
) -> Mapping[str, list[ParkedEvent]]:
    """The dead letters of these entities."""
    parked: dict[str, list[ParkedEvent]] = defaultdict(list)
    of_ids = _ABOUT_DEAD_LETTERS.where(any_of(EVENTS.c.entity_id, "ids"))
    for entity_id, event in _published((await connection.execute(of_ids, {"ids": ids})).all()):
        parked[entity_id].append(event)
    own = _OWN_DEAD_LETTERS.where(any_of(DEAD_LETTER.c.entity_id, "ids"))
    for row in await connection.execute(own, {"ids": ids}):
        event = ParkedEvent(
            service=OWN,
            event_id=row.event_id,
            event_type=row.event_type,
            error=row.error,
            since=row.dead_lettered_at,
        )
        parked[row.entity_id].append(event)
    return parked


def _published(rows: ResultRows) -> Iterable[tuple[str, ParkedEvent]]:
    """The dead letters that events report, without those that later events settle."""
    letters: dict[tuple[str, str], tuple[str, ParkedEvent]] = {}
    for row in rows:
        letter_id = (row.source, row.data["eventId"])
        if row.event_type != DEAD_LETTERED:
            letters.pop(letter_id, None)
            continue
        event = ParkedEvent(
            service=row.source,
            event_id=row.data["eventId"],
            event_type=row.data.get("eventType"),
            error=row.data["error"],
            since=row.recorded_at,
        )
        letters[letter_id] = (row.entity_id, event)
    return letters.values()
