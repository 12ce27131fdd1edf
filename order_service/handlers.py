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
    RequestCancellation,
    is_final,
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
    ShipmentFailed,
    StockReservationFailed,
    StockReserved,
)
from shared.contracts.order import OrderEvent, OrderStatus

DEADLINE = "deadline"


def confirm_order(reserved: StockReserved) -> ConfirmOrder:
    return ConfirmOrder(order_id=reserved.order_id)


def reject_order(failed: StockReservationFailed) -> RejectOrder:
    return RejectOrder(order_id=failed.order_id, failed_items=failed.failed_items)


def complete_order(completed: ShipmentCompleted) -> CompleteOrder:
    return CompleteOrder(order_id=completed.order_id, tracking_number=completed.tracking_number)


def fail_order(failed: ShipmentFailed) -> FailOrder:
    return FailOrder(order_id=failed.order_id, reason=failed.reason)


def accept_cancellation(cancelled: ShipmentCancelled) -> AcceptCancellation:
    return AcceptCancellation(order_id=cancelled.order_id)


def refuse_cancellation(refused: ShipmentCancellationRefused) -> RefuseCancellation:
    return RefuseCancellation(order_id=refused.order_id, reason=refused.reason)


async def expire_order(due: Task) -> RequestCancellation:
    """The order made no progress for too long: request its cancellation, as a customer would."""
    return RequestCancellation(order_id=due.task_key, reason="EXPIRED")


def schedule_deadlines(
    seconds: float, by_status: Mapping[OrderStatus, float | None] | None = None
) -> ScheduleRule[OrderState]:
    """Every event of an open order moves its deadline; a final status cancels it, and a nudge replaces a lost one.

    It is due after `seconds`, unless `by_status` has a value for the order's status.
    """
    own = {status: delay for status, delay in (by_status or {}).items() if delay is not None}

    def schedule(state: OrderState, recorded: RecordedEvent) -> Iterable[Change]:
        if not isinstance(recorded.event, OrderEvent | OrderNudged):
            return ()
        order = state.orders[recorded.entity_id]
        if is_final(order):
            return (Cancel(kind=DEADLINE, key=order.order_id),)
        deadline = Schedule(
            kind=DEADLINE,
            key=order.order_id,
            delay_seconds=own.get(order.status, seconds),
            only_if_missing=isinstance(recorded.event, OrderNudged),
        )
        return (deadline,)

    return schedule


TASK_HANDLERS = (
    TaskHandler(DEADLINE, expire_order, actor=lambda _: actor.DEADLINE, is_deadline=True),
)

SUBSCRIPTIONS: tuple[Subscription[Command], ...] = (
    on(ProductCreated),
    on(ProductUpdated),
    on(ProductDeleted),
    on(ProductRestored),
    on(StockReserved, confirm_order),
    on(StockReservationFailed, reject_order),
    on(ShipmentCompleted, complete_order),
    on(ShipmentFailed, fail_order),
    on(ShipmentCancelled, accept_cancellation),
    on(ShipmentCancellationRefused, refuse_cancellation),
    on(LinkKeyPublished),
)
