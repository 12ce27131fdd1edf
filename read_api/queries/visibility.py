"""Order visibility: guests by order id, customers their own, operators all."""

from typing import NamedTuple, TypeVar

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Text, and_, bindparam, or_, select, true

from read_api.schemas import EventView, OrderView
from read_api.tables import EVENTS, ORDERS
from shared.chassis.http.auth import Caller
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.system_events import SYSTEM
from shared.chassis.storage.reader import Reader

SomeOrder = TypeVar("SomeOrder", bound=OrderView)

OPERATORS_ONLY = frozenset(kind.__name__ for kind in SYSTEM)
"""Types of events that quote messages that could not be handled, which may be of other customers."""

ROLES = frozenset({"customer", "operator", "admin"})
"""What an actor starts with whose id is that of an account."""

IS_VISIBLE = and_(
    ORDERS.c.order_id == bindparam("order_id"),
    or_(ORDERS.c.guest, ORDERS.c.user_id == bindparam("user_id", type_=Text)),
)
"""Whether a caller other than an operator may see the order; a guest's user id is null."""

OF_ORDER = EVENTS.c.correlation_id == bindparam("order_id")
"""All events of the order, those of other services included."""
RESTRICTED_OF_ORDER = and_(
    OF_ORDER,
    EVENTS.c.entity_id == bindparam("order_id"),
    EVENTS.c.event_type.not_in(OPERATORS_ONLY),
)
"""The events of the order that are not only for operators."""

_FIND_VISIBLE = select(ORDERS.c.order_id).where(IS_VISIBLE)


class Visibility(NamedTuple):
    """The part of an order's events that a caller may see."""

    order_id: str
    in_full: bool = False
    """Also its effects in other services on other entities, and events that only operators may read."""
    viewer_id: str | None = None
    """The caller's user id; None for a guest."""

    def includes(self, event: EventView) -> bool:
        """Whether the caller may see the event: as OF_ORDER and RESTRICTED_OF_ORDER in SQL."""
        if event.correlation_id != self.order_id:
            return False
        return self.in_full or (event.key == self.order_id and event.type not in OPERATORS_ONLY)

    def redacted(self, event: EventView) -> EventView:
        """The event without the ids of other people's accounts, and without notes for the shop."""
        if self.in_full:
            return event
        if event.actor is not None:
            event = replace(event, actor=self._visible_actor(event.actor))
        if "note" in event.data and not _is_customers_note(event):
            event = replace(event, data={**event.data, "note": None})
        return event

    def _visible_actor(self, actor: str) -> str:
        role, _, account_id = actor.partition(":")
        is_of_another = role in ROLES and account_id != self.viewer_id
        return role if is_of_another else actor


def _is_customers_note(event: EventView) -> bool:
    """In an event of an earlier release the note is what the customer wrote."""
    return event.type == "OrderCancellationRequested" and "by" not in event.data


async def find_visible(reader: Reader, caller: Caller, order_id: str) -> Visibility | None:
    """What the caller may see of the order; None if nothing.

    An operator also sees events of other services that arrived before those of the order service.
    """
    if caller.is_operator:
        return Visibility(order_id, in_full=True)
    rows = await reader.fetch(_FIND_VISIBLE, order_id=order_id, user_id=caller.user_id)
    return Visibility(order_id, viewer_id=caller.user_id) if rows else None


def may_see(caller: Caller, *, user_id: str, is_guest_order: bool) -> bool:
    """Whether the caller may see an order of this customer or guest: as IS_VISIBLE in SQL."""
    return caller.is_operator or is_guest_order or caller.user_id == user_id


def redacted_order(caller: Caller, order: SomeOrder) -> SomeOrder:
    """The order without what only the shop may read, if the caller is not of the shop."""
    if caller.is_operator or order.cancellation is None or order.cancellation.note is None:
        return order
    return replace(order, cancellation=replace(order.cancellation, note=None))


def listed_orders(caller: Caller) -> ColumnElement[bool]:
    """The orders that a list may contain for the caller: guests' orders only for an operator."""
    if caller.is_operator:
        return true()
    return and_(ORDERS.c.user_id == caller.user_id, ORDERS.c.guest.is_(False))


def unknown_order(order_id: str) -> Rejected:
    """The same for an order that does not exist and for one that the caller may not see."""
    return Rejected("unknown-order", f"there is no order {order_id}")
