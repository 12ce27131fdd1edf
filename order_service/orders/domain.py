"""The rules of an order: priced by the order service's own list, brought to exactly one final status.

Events of other services arrive in any order. A command without a transition from the order's status changes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from order_service.addresses.domain import BookAddress
from order_service.orders.limits import NO_LIMITS, OrderLimits
from order_service.orders.pricing import Prices, RequestedItem, priced
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    Address,
    Cancellation,
    DeliveryOverdue,
    FailedItem,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    OrderId,
    OrderItem,
    OrderNudged,
    OrderResumed,
    OrderShipped,
)
from shared.contracts.order import (
    CANCELLED_STATUS,
    CancelledBy,
    OrderEvent,
    OrderStatus,
    cancellation_of,
    status_after,
)
from shared.order_number import order_number

OPEN = frozenset(
    {
        OrderStatus.PENDING,
        OrderStatus.AWAITING_SHIPMENT,
        OrderStatus.SHIPPED,
        OrderStatus.CANCELLING,
    }
)

CancellationReason = Literal["CUSTOMER", "EXPIRED"]


class Order(Struct, frozen=True, kw_only=True):
    """One order, from its creation to its final status."""

    order_id: str
    user_id: str
    guest: bool = False
    """Placed without an account: then the order id is a secret."""
    status: OrderStatus
    items: tuple[OrderItem, ...]
    total_amount: int
    currency: str
    email: str | None = None
    locale: str | None = None
    shipping_address: Address | None = None
    resume_status: OrderStatus | None = None
    """While CANCELLING: the status to return to if shipping refuses."""
    cancellation: Cancellation | None = None
    """That was requested and not refused."""
    carrier: str | None = None
    tracking_number: str | None = None
    shipped_at: datetime | None = None
    """When the order learned that a carrier has its parcel."""
    delivery_overdue_at: datetime | None = None
    reason: str | None = None
    """Why it ended without delivery."""
    failed_items: tuple[FailedItem, ...] = ()
    created_at: datetime
    updated_at: datetime

    @property
    def order_number(self) -> str:
        return order_number(self.order_id)


Orders = Mapping[str, Order]
"""By order id."""


class PlaceOrder(Struct, frozen=True, kw_only=True):
    """Accept an order at the prices of the order service's list."""

    order_id: OrderId
    user_id: str
    guest: bool = False
    email: str | None = None
    locale: str | None = None
    items: tuple[RequestedItem, ...]
    currency: str
    shipping_address: Address | None = None
    book_address: BookAddress | None = None
    """In place of `shipping_address`."""


class ConfirmOrder(Struct, frozen=True, kw_only=True):
    """Confirm the order: its stock is reserved."""

    order_id: OrderId


class RejectOrder(Struct, frozen=True, kw_only=True):
    """Cancel the order: there is not enough stock for it."""

    order_id: OrderId
    failed_items: tuple[FailedItem, ...]


class ShipOrder(Struct, frozen=True, kw_only=True):
    """Record that a carrier has the order's parcel."""

    order_id: OrderId
    carrier: str
    tracking_number: str | None = None


class ReportOverdue(Struct, frozen=True, kw_only=True):
    """Publish that the delivery deadline has passed."""

    order_id: OrderId


class CompleteOrder(Struct, frozen=True, kw_only=True):
    """Complete the order: it was delivered."""

    order_id: OrderId
    tracking_number: str


class FailOrder(Struct, frozen=True, kw_only=True):
    """End the order: it cannot be shipped."""

    order_id: OrderId
    reason: str


class RequestCancellation(Struct, frozen=True, kw_only=True):
    """Ask shipping to cancel the order, because the customer or the shop wants it or because it timed out."""

    order_id: OrderId
    reason: CancellationReason
    """CUSTOMER also with `by_shop`."""
    by_shop: bool = False
    explanation: str | None = None
    """What the customer may read."""
    note: str | None = None
    """For the shop only."""


class AcceptCancellation(Struct, frozen=True, kw_only=True):
    """End the order as cancelled: shipping accepted."""

    order_id: OrderId


class RefuseCancellation(Struct, frozen=True, kw_only=True):
    """Return the order to its previous status: shipping refused the cancellation."""

    order_id: OrderId
    reason: str
    dispatch: ShipOrder | None = None
    """If the shipment is with its carrier: the order may not have received that event."""


class NudgeOrder(Struct, frozen=True, kw_only=True):
    """Have every service repeat what it has published about the order."""

    order_id: OrderId


FollowUp = (
    ConfirmOrder
    | RejectOrder
    | ShipOrder
    | ReportOverdue
    | CompleteOrder
    | FailOrder
    | RequestCancellation
    | AcceptCancellation
    | RefuseCancellation
)
Command = PlaceOrder | NudgeOrder | FollowUp


def decide(
    orders: Orders, prices: Prices, command: Command, limits: OrderLimits = NO_LIMITS
) -> list[Event]:
    """The events that the command leads to.

    Raises Rejected: `product-not-for-sale`, `price-changed` or `order-too-large` for a new order, `unknown-order` and `order-final`
    for a customer's cancellation, `unknown-order` for a nudge.
    """
    if isinstance(command, PlaceOrder):
        return [] if command.order_id in orders else [_create(prices, command, limits)]
    order = orders.get(command.order_id)
    if isinstance(command, NudgeOrder):
        return _nudge(order, command)
    if isinstance(command, RequestCancellation):
        return _request_cancellation(order, command)
    if order is None:
        raise LookupError(f"{type(command).__name__} for an order that was never created")
    return [] if is_final(order) else _transition(order, command)


def is_final(order: Order) -> bool:
    """Whether the order has ended, so that no command changes it any more."""
    return order.status not in OPEN


def has_deadline(order: Order) -> bool:
    """Whether something will happen if the order makes no progress: until it ends, or its delivery is overdue."""
    is_overdue = order.status is OrderStatus.SHIPPED and order.delivery_overdue_at is not None
    return not is_final(order) and not is_overdue


def _transition(order: Order, command: FollowUp) -> list[Event]:
    """The table of an open order's transitions; a pair that is not listed changes nothing."""
    order_id, status = order.order_id, order.status
    if isinstance(command, ShipOrder | ReportOverdue):
        return _transit(order, command)
    match status, command:
        case OrderStatus.PENDING, ConfirmOrder():
            return [OrderConfirmed(order_id=order_id, status=OrderStatus.AWAITING_SHIPMENT)]
        case OrderStatus.CANCELLING, ConfirmOrder() if not _is_confirmed(order):
            return [OrderConfirmed(order_id=order_id, status=status)]
        case OrderStatus.PENDING, RejectOrder(failed_items=failed):
            return [_out_of_stock(order_id, failed)]
        case OrderStatus.CANCELLING, RejectOrder() | AcceptCancellation():
            return [_cancelled(order)]
        case OrderStatus.CANCELLING, RefuseCancellation():
            return _resume(order, command)
        case _, CompleteOrder(tracking_number=number):
            completed = OrderStatus.COMPLETED
            return [OrderCompleted(order_id=order_id, status=completed, tracking_number=number)]
        case _, FailOrder(reason=reason):
            failed_status = OrderStatus.SHIPMENT_FAILED
            return [OrderFailed(order_id=order_id, status=failed_status, reason=reason)]
        case _:
            return []


def _transit(order: Order, command: ShipOrder | ReportOverdue) -> list[Event]:
    """The part of the table between the carrier's confirmation and its outcome."""
    match order.status, command:
        case ((OrderStatus.PENDING | OrderStatus.AWAITING_SHIPMENT), ShipOrder()):
            return [_shipped(command, OrderStatus.SHIPPED)]
        case OrderStatus.CANCELLING, ShipOrder() if order.shipped_at is None:
            return [_shipped(command, order.status)]
        case OrderStatus.SHIPPED, ReportOverdue() if order.delivery_overdue_at is None:
            return [DeliveryOverdue(order_id=order.order_id, status=order.status)]
        case _:
            return []


def _shipped(command: ShipOrder, status: OrderStatus) -> OrderShipped:
    return OrderShipped(
        order_id=command.order_id,
        status=status,
        carrier=command.carrier,
        tracking_number=command.tracking_number,
    )


def _resume(order: Order, refusal: RefuseCancellation) -> list[Event]:
    """An order whose shipment is with the carrier goes on as SHIPPED, whatever it was before."""
    order_id, dispatch = order.order_id, refusal.dispatch
    if dispatch is None or order.shipped_at:
        resumed = order.resume_status or OrderStatus.PENDING
        return [OrderResumed(order_id=order_id, status=resumed, reason=refusal.reason)]
    return [
        _shipped(dispatch, OrderStatus.CANCELLING),
        OrderResumed(order_id=order_id, status=OrderStatus.SHIPPED, reason=refusal.reason),
    ]


def _out_of_stock(order_id: str, failed_items: tuple[FailedItem, ...]) -> OrderCancelled:
    status = CANCELLED_STATUS["NO_STOCK"]
    return OrderCancelled(
        order_id=order_id, status=status, reason="NO_STOCK", failed_items=failed_items
    )


def _cancelled(order: Order) -> OrderCancelled:
    """As it was requested."""
    cancellation = order.cancellation or Cancellation(by="CUSTOMER")
    reason = _reason_of(cancellation)
    return OrderCancelled(
        order_id=order.order_id,
        status=CANCELLED_STATUS[reason],
        reason=reason,
        by=cancellation.by,
        explanation=cancellation.reason,
    )


def _nudge(order: Order | None, command: NudgeOrder) -> list[Event]:
    """Of a final order too: its stock may not be settled."""
    if order is None:
        raise _unknown(command.order_id)
    return [OrderNudged(order_id=command.order_id)]


def _request_cancellation(order: Order | None, command: RequestCancellation) -> list[Event]:
    on_request = command.reason == "CUSTOMER"
    if order is None:
        raise _unknown(command.order_id)
    if is_final(order):
        if on_request:
            raise Rejected("order-final", f"the order is {order.status} already")
        return []
    if order.status is OrderStatus.SHIPPED and not on_request:
        return []  # the deadline of an earlier status: it was overtaken by the dispatch
    if order.status is OrderStatus.CANCELLING:
        # A second request changes nothing; a timeout asks shipping again, in case the event was lost.
        repeated = order.cancellation or Cancellation(by="DEADLINE")
        return [] if on_request else [_requested(order.order_id, repeated)]
    by_whom: CancelledBy = "SHOP" if command.by_shop else "CUSTOMER"
    cancellation = Cancellation(
        by=by_whom if on_request else "DEADLINE", reason=command.explanation, note=command.note
    )
    return [_requested(order.order_id, cancellation)]


def _requested(order_id: str, cancellation: Cancellation) -> OrderCancellationRequested:
    return OrderCancellationRequested(
        order_id=order_id,
        status=OrderStatus.CANCELLING,
        reason=_reason_of(cancellation),
        by=cancellation.by,
        explanation=cancellation.reason,
        note=cancellation.note,
    )


def _reason_of(cancellation: Cancellation) -> CancellationReason:
    """The reason in the events, which has no value of its own for the shop."""
    return "EXPIRED" if cancellation.by == "DEADLINE" else "CUSTOMER"


def _unknown(order_id: str) -> Rejected:
    return Rejected("unknown-order", f"there is no order {order_id}")


def _create(prices: Prices, command: PlaceOrder, limits: OrderLimits) -> OrderCreated:
    limits.check(command.items)
    items = tuple(priced(prices, item) for item in command.items)
    return OrderCreated(
        order_id=command.order_id,
        status=OrderStatus.PENDING,
        user_id=command.user_id,
        guest=command.guest,
        email=command.email,
        locale=command.locale,
        items=items,
        total_amount=sum(item.price * item.quantity for item in items),
        currency=command.currency,
        shipping_address=command.shipping_address,
    )


def evolve(orders: Orders, recorded: RecordedEvent) -> Orders:
    """The orders after an event of the order service."""
    match recorded.event:
        case OrderCreated() as created:
            order = _new_order(created, recorded.recorded_at)
        case OrderEvent() as event:
            changed = _apply(orders[event.order_id], event, recorded.recorded_at)
            order = replace(changed, updated_at=recorded.recorded_at)
        case _:
            return orders
    return {**orders, order.order_id: order}


def _new_order(created: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=created.order_id,
        user_id=created.user_id,
        guest=created.guest,
        status=status_after(created, None, is_confirmed=False),
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        email=created.email,
        locale=created.locale,
        shipping_address=created.shipping_address,
        created_at=at,
        updated_at=at,
    )


def _apply(order: Order, event: OrderEvent, at: datetime) -> Order:
    status = status_after(event, order.status, is_confirmed=_is_confirmed(order))
    match event:
        case OrderShipped():
            return _with_dispatch(order, event, status, at)
        case DeliveryOverdue():
            return replace(order, delivery_overdue_at=at)
        case OrderConfirmed() if status is OrderStatus.CANCELLING:
            return replace(order, resume_status=OrderStatus.AWAITING_SHIPMENT)
        case OrderCompleted(tracking_number=number):
            ended = _without_cancellation(order, status)
            return replace(ended, tracking_number=number)
        case OrderCancelled(reason=reason, failed_items=failed):
            return replace(
                order, status=status, resume_status=None, reason=reason, failed_items=failed
            )
        case OrderFailed(reason=reason):
            return replace(_without_cancellation(order, status), reason=reason)
        case OrderCancellationRequested() if order.status is OrderStatus.CANCELLING:
            return order
        case OrderCancellationRequested():
            cancellation = cancellation_of(event)
            return replace(
                order, status=status, resume_status=order.status, cancellation=cancellation
            )
        case OrderResumed():
            return _without_cancellation(order, status)
        case _:
            return replace(order, status=status)


def _without_cancellation(order: Order, status: OrderStatus) -> Order:
    """A cancellation that was requested did not happen."""
    return replace(order, status=status, resume_status=None, cancellation=None)


def _with_dispatch(order: Order, event: OrderShipped, status: OrderStatus, at: datetime) -> Order:
    shipped = replace(
        order, carrier=event.carrier, tracking_number=event.tracking_number, shipped_at=at
    )
    if status is OrderStatus.CANCELLING:
        return replace(shipped, resume_status=OrderStatus.SHIPPED)
    return replace(shipped, status=status)


def _is_confirmed(order: Order) -> bool:
    """A shipment implies the stock."""
    return order.shipped_at is not None or OrderStatus.AWAITING_SHIPMENT in {
        order.status,
        order.resume_status,
    }
