"""The commands that events lead to, and the deadlines of open orders."""

from collections.abc import Iterable, Mapping

from order_service.domain import Command, OrderState
from order_service.orders.domain import (
    AcceptCancellation,
    CompleteOrder,
    ConfirmOrder,
    FailOrder,
    RefuseCancellation,
    RejectOrder,
    ReportOverdue,
    RequestCancellation,
    ShipOrder,
    has_deadline,
)
from shared.chassis.engine.task_runner import TaskHandler
from shared.chassis.messages import actor
from shared.chassis.messages.decider import ScheduleRule, Subscription, on
from shared.chassis.messages.identity_events import LinkKeyPublished
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.schedule import Cancel, Change, Schedule
from shared.chassis.storage.task_queue import Task
from shared.contracts import (
    OrderNudged,
    ProductCreated,
    ProductDeleted,
    ProductRestored,
    ProductUpdated,
    ShipmentCancellationRefused,
    ShipmentCancelled,
    ShipmentCompleted,
    ShipmentDispatched,
    ShipmentFailed,
    StockReservationFailed,
    StockReserved,
)
from shared.contracts.order import OrderEvent, OrderStatus

DEADLINE = "deadline"
DELIVERY = {"awaits": "delivery"}
"""The payload of a shipped order's deadline."""


def confirm_order(reserved: StockReserved) -> ConfirmOrder:
    return ConfirmOrder(order_id=reserved.order_id)


def reject_order(failed: StockReservationFailed) -> RejectOrder:
    return RejectOrder(order_id=failed.order_id, failed_items=failed.failed_items)


def ship_order(dispatched: ShipmentDispatched) -> ShipOrder:
    return ShipOrder(
        order_id=dispatched.order_id,
        carrier=dispatched.carrier,
        tracking_number=dispatched.tracking_number,
    )


def complete_order(completed: ShipmentCompleted) -> CompleteOrder:
    return CompleteOrder(order_id=completed.order_id, tracking_number=completed.tracking_number)


def fail_order(failed: ShipmentFailed) -> FailOrder:
    return FailOrder(order_id=failed.order_id, reason=failed.reason)


def accept_cancellation(cancelled: ShipmentCancelled) -> AcceptCancellation:
    return AcceptCancellation(order_id=cancelled.order_id)


def refuse_cancellation(refused: ShipmentCancellationRefused) -> RefuseCancellation:
    dispatch = None
    if refused.shipment_status == "DISPATCHED" and refused.carrier:
        dispatch = ShipOrder(
            order_id=refused.order_id,
            carrier=refused.carrier,
            tracking_number=refused.tracking_number,
        )
    return RefuseCancellation(order_id=refused.order_id, reason=refused.reason, dispatch=dispatch)


async def pass_deadline(due: Task) -> RequestCancellation | ReportOverdue:
    """The order made no progress for too long: request its cancellation, unless a carrier has its parcel."""
    if due.payload == DELIVERY:
        return ReportOverdue(order_id=due.task_key)
    return RequestCancellation(order_id=due.task_key, reason="EXPIRED")


def schedule_deadlines(
    seconds: float, by_status: Mapping[OrderStatus, float | None] | None = None
) -> ScheduleRule[OrderState]:
    """Every event of an open order moves its deadline; a final status cancels it, and a nudge replaces a lost one.

    It is due after `seconds`, unless `by_status` has a value for the order's status. A shipped order's counts from the
    dispatch, and passes once.
    """
    own = {status: delay for status, delay in (by_status or {}).items() if delay is not None}

    def schedule(state: OrderState, recorded: RecordedEvent) -> Iterable[Change]:
        if not isinstance(recorded.event, OrderEvent | OrderNudged):
            return ()
        order = state.orders[recorded.entity_id]
        if not has_deadline(order):
            return (Cancel(kind=DEADLINE, key=order.order_id),)
        delay_seconds, payload = own.get(order.status, seconds), {}
        if order.status is OrderStatus.SHIPPED:
            since = order.shipped_at or recorded.recorded_at
            delay_seconds -= (recorded.recorded_at - since).total_seconds()
            payload = DELIVERY
        deadline = Schedule(
            kind=DEADLINE,
            key=order.order_id,
            delay_seconds=max(delay_seconds, 0),
            payload=payload,
            only_if_missing=isinstance(recorded.event, OrderNudged),
        )
        return (deadline,)

    return schedule


TASK_HANDLERS = (
    TaskHandler(DEADLINE, pass_deadline, actor=lambda _: actor.DEADLINE, is_deadline=True),
)

SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(ProductCreated),
    on(ProductUpdated),
    on(ProductDeleted),
    on(ProductRestored),
    on(StockReserved, confirm_order),
    on(StockReservationFailed, reject_order),
    on(ShipmentDispatched, ship_order),
    on(ShipmentCompleted, complete_order),
    on(ShipmentFailed, fail_order),
    on(ShipmentCancelled, accept_cancellation),
    on(ShipmentCancellationRefused, refuse_cancellation),
    on(LinkKeyPublished),
)
