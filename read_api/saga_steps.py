"""The steps of a saga as pure rules: which have happened, which service must act next, and what usually follows.

Choreography has no place that knows the whole. This table is only read: no service acts by it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from read_api.models import ReservationStatus, ShipmentStatus
from shared.contracts import (
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderResumed,
    OrderShipped,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentInitiated,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
    StockWrittenOff,
)
from shared.contracts.order import OrderStatus


class Step(StrEnum):
    """What a service must do for the order to go on."""

    RESERVE_STOCK = "RESERVE_STOCK"
    INITIATE_SHIPMENT = "INITIATE_SHIPMENT"
    BOOK_CARRIER = "BOOK_CARRIER"
    DELIVER = "DELIVER"
    """The carrier has accepted the booking, and reports the outcome; of a parcel that is overdue an operator does."""
    COMPLETE_ORDER = "COMPLETE_ORDER"
    FAIL_ORDER = "FAIL_ORDER"
    DECIDE_CANCELLATION = "DECIDE_CANCELLATION"
    CANCEL_ORDER = "CANCEL_ORDER"
    RESUME_ORDER = "RESUME_ORDER"
    DEDUCT_STOCK = "DEDUCT_STOCK"
    RELEASE_STOCK = "RELEASE_STOCK"


class Actor(NamedTuple):
    """The service that must carry out a step, and the types of the events that end it."""

    service: str
    awaits: tuple[str, ...]


ACTORS: Mapping[Step, Actor] = {
    Step.RESERVE_STOCK: Actor("inventory", ("StockReserved", "StockReservationFailed")),
    Step.INITIATE_SHIPMENT: Actor("shipping", ("ShipmentInitiated",)),
    Step.BOOK_CARRIER: Actor(
        "shipping", ("ShipmentDispatched", "ShipmentCompleted", "ShipmentFailed")
    ),
    Step.DELIVER: Actor("shipping", ("ShipmentCompleted", "ShipmentFailed")),
    Step.COMPLETE_ORDER: Actor("order", ("OrderCompleted",)),
    Step.FAIL_ORDER: Actor("order", ("OrderFailed",)),
    Step.DECIDE_CANCELLATION: Actor(
        "shipping", ("ShipmentCancelled", "ShipmentCancellationRefused")
    ),
    Step.CANCEL_ORDER: Actor("order", ("OrderCancelled",)),
    Step.RESUME_ORDER: Actor("order", ("OrderResumed",)),
    Step.DEDUCT_STOCK: Actor("inventory", ("StockDeducted",)),
    Step.RELEASE_STOCK: Actor("inventory", ("StockReleased", "StockWrittenOff")),
}


class Progress(NamedTuple):
    """How far a saga is. Each part follows from the events of one service, in the order of its log."""

    order: OrderStatus | None = None
    reservation: ReservationStatus | None = None
    shipment: ShipmentStatus | None = None
    requests: frozenset[str] = frozenset()
    """The ids of the requests to cancel that the order waits for an answer to."""
    refused: frozenset[str | None] = frozenset()
    """The ids of the requests that shipping has refused."""


OPEN = frozenset(
    {
        OrderStatus.PENDING,
        OrderStatus.AWAITING_SHIPMENT,
        OrderStatus.SHIPPED,
        OrderStatus.CANCELLING,
        None,
    }
)
"""Without an event of the order itself, it has not ended."""
COMPLETED = frozenset({OrderStatus.COMPLETED})
CANCELLING = frozenset({OrderStatus.CANCELLING})
UNDELIVERED = frozenset(OrderStatus) - OPEN - COMPLETED
RESERVED = frozenset({ReservationStatus.RESERVED})


class Row(NamedTuple):
    """A step, and the statuses with which it is the next one; None is any status."""

    step: Step
    order: frozenset[OrderStatus | None]
    reservation: frozenset[ReservationStatus | None] | None = None
    shipment: frozenset[ShipmentStatus | None] | None = None
    is_refused: bool = False
    """Only when shipping has refused the cancellation."""


TABLE: Sequence[Row] = (
    Row(Step.DEDUCT_STOCK, COMPLETED, reservation=RESERVED),
    Row(Step.RELEASE_STOCK, UNDELIVERED, reservation=RESERVED),
    Row(Step.COMPLETE_ORDER, OPEN, shipment=frozenset({ShipmentStatus.COMPLETED})),
    Row(Step.FAIL_ORDER, OPEN, shipment=frozenset({ShipmentStatus.FAILED})),
    Row(Step.CANCEL_ORDER, OPEN, shipment=frozenset({ShipmentStatus.CANCELLED})),
    Row(Step.CANCEL_ORDER, OPEN, reservation=frozenset({ReservationStatus.REFUSED})),
    Row(Step.RESUME_ORDER, CANCELLING, is_refused=True),
    Row(Step.DECIDE_CANCELLATION, CANCELLING),
    Row(Step.BOOK_CARRIER, OPEN, shipment=frozenset({ShipmentStatus.INITIATED})),
    Row(Step.DELIVER, OPEN, shipment=frozenset({ShipmentStatus.DISPATCHED})),
    Row(Step.RESERVE_STOCK, OPEN, reservation=frozenset({None})),
    Row(Step.INITIATE_SHIPMENT, OPEN),
)
"""The first row that matches is the step that the saga's end waits for; without one the saga has ended.

Others may act meanwhile: the order service confirms an order while shipping initiates its shipment.
"""


def next_step(progress: Progress) -> Step | None:
    """The step that is due next; None when the order has ended and its stock is settled."""
    is_refused = bool(progress.requests & progress.refused)
    for row in TABLE:
        if (
            progress.order in row.order
            and (row.reservation is None or progress.reservation in row.reservation)
            and (row.shipment is None or progress.shipment in row.shipment)
            and (is_refused or not row.is_refused)
        ):
            return row.step
    return None


class SagaEvent(Protocol):
    """The part of an event that the steps follow from."""

    @property
    def event_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def causation_id(self) -> str | None: ...
    @property
    def recorded_at(self) -> datetime: ...


ORDER_STATUSES = {
    OrderCreated.__name__: OrderStatus.PENDING,
    OrderConfirmed.__name__: OrderStatus.AWAITING_SHIPMENT,
    OrderShipped.__name__: OrderStatus.SHIPPED,
    OrderCancellationRequested.__name__: OrderStatus.CANCELLING,
    OrderResumed.__name__: OrderStatus.AWAITING_SHIPMENT,
    OrderCompleted.__name__: OrderStatus.COMPLETED,
    OrderCancelled.__name__: OrderStatus.CANCELLED,
    OrderFailed.__name__: OrderStatus.SHIPMENT_FAILED,
}
"""As far as the table distinguishes them."""
UNDECIDED = frozenset({OrderConfirmed.__name__, OrderShipped.__name__})
"""With these an order whose cancellation was requested waits on."""
RESERVATION_STATUSES = {
    StockReserved.__name__: ReservationStatus.RESERVED,
    StockReservationFailed.__name__: ReservationStatus.REFUSED,
    StockReleased.__name__: ReservationStatus.RELEASED,
    StockWrittenOff.__name__: ReservationStatus.WRITTEN_OFF,
    StockDeducted.__name__: ReservationStatus.DEDUCTED,
}
SHIPMENT_STATUSES = {
    ShipmentInitiated.__name__: ShipmentStatus.INITIATED,
    ShipmentDispatched.__name__: ShipmentStatus.DISPATCHED,
    ShipmentCompleted.__name__: ShipmentStatus.COMPLETED,
    ShipmentFailed.__name__: ShipmentStatus.FAILED,
    ShipmentCancelled.__name__: ShipmentStatus.CANCELLED,
}


def after(progress: Progress, event: SagaEvent) -> Progress:
    """How far the saga is after an event; one of another kind, as of a mail, changes nothing."""
    if status := ORDER_STATUSES.get(event.type):
        return _after_order_event(progress, event, status)
    if reservation := RESERVATION_STATUSES.get(event.type):
        return progress._replace(reservation=reservation)
    if shipment := SHIPMENT_STATUSES.get(event.type):
        return progress._replace(shipment=shipment)
    if event.type == ShipmentCancellationRefused.__name__:
        return progress._replace(refused=progress.refused | {event.causation_id})
    return progress


def _after_order_event(progress: Progress, event: SagaEvent, status: OrderStatus) -> Progress:
    match status:
        case OrderStatus.CANCELLING:
            return progress._replace(order=status, requests=progress.requests | {event.event_id})
        case _ if event.type in UNDECIDED and progress.order is OrderStatus.CANCELLING:
            return progress
        case _:
            return progress._replace(order=status, requests=frozenset())


class History(NamedTuple):
    """What became of a saga so far."""

    progress: Progress
    step: Step | None
    since: datetime | None
    """Since when it is the next step."""
    durations: Sequence[tuple[Step, float]]
    """The seconds that each past step took."""


def history_of(events: Iterable[SagaEvent]) -> History:
    """The history of one order's events, in any order."""
    progress, step, since = Progress(), None, None
    durations: list[tuple[Step, float]] = []
    for event in in_time(events):
        progress = after(progress, event)
        following = next_step(progress)
        if following is step:
            continue
        if step and since:
            # Clocks of several machines differ.
            durations.append((step, max((event.recorded_at - since).total_seconds(), 0)))
        step, since = following, event.recorded_at
    return History(progress, step, since, durations)


def in_time(events: Iterable[SagaEvent]) -> Iterator[SagaEvent]:
    """By time, but the events of each service in the order of its log."""
    of_each = groupby(sorted(events, key=attrgetter("source", "position")), attrgetter("source"))
    runs = [list(run) for _, run in of_each]
    return merge(*runs, key=attrgetter("recorded_at"))


def remaining(progress: Progress) -> list[Step]:
    """The steps to the saga's end, the next one first, if each has its usual outcome."""
    steps: list[Step] = []
    while (step := next_step(progress)) and step not in steps:
        steps.append(step)
        progress = _usual_outcome(progress, step)
    return steps


def _usual_outcome(progress: Progress, step: Step) -> Progress:
    if step is Step.DECIDE_CANCELLATION and progress.shipment is ShipmentStatus.DISPATCHED:
        return progress._replace(refused=progress.refused | progress.requests)
    return progress._replace(**USUAL_OUTCOMES[step])


USUAL_OUTCOMES: Mapping[Step, dict[str, Any]] = {
    Step.RESERVE_STOCK: {"reservation": ReservationStatus.RESERVED},
    Step.INITIATE_SHIPMENT: {"shipment": ShipmentStatus.INITIATED},
    Step.BOOK_CARRIER: {"shipment": ShipmentStatus.DISPATCHED},
    Step.DELIVER: {"shipment": ShipmentStatus.COMPLETED},
    Step.COMPLETE_ORDER: {"order": OrderStatus.COMPLETED},
    Step.FAIL_ORDER: {"order": OrderStatus.SHIPMENT_FAILED},
    Step.DECIDE_CANCELLATION: {"shipment": ShipmentStatus.CANCELLED},
    Step.CANCEL_ORDER: {"order": OrderStatus.CANCELLED},
    Step.RESUME_ORDER: {"order": OrderStatus.AWAITING_SHIPMENT, "requests": frozenset()},
    Step.DEDUCT_STOCK: {"reservation": ReservationStatus.DEDUCTED},
    Step.RELEASE_STOCK: {"reservation": ReservationStatus.RELEASED},
}
