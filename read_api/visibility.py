"""Who may see what of the orders: a guest's order its knower, a customer's he himself, and all of them an admin."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, select, true

from read_api.tables import EVENTS, ORDERS
from shared.chassis.http.auth import Caller
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.system_events import SYSTEM

OPERATORS_ONLY = frozenset(kind.__name__ for kind in SYSTEM)
"""Events that quote what could not be handled, whoever's it is."""


class Visibility(NamedTuple):
    """An order's events, as far as somebody may see them."""

    order_id: str
    in_full: bool = False
    """Whether with what has followed from the order elsewhere, and what only operators may read."""

    def tells(self, event_type: str, key: str, correlation_id: str) -> bool:
        """Whether an event is part of it."""
        if correlation_id != self.order_id:
            return False
        return self.in_full or (key == self.order_id and event_type not in OPERATORS_ONLY)

    def condition(self) -> ColumnElement[bool]:
        """The same, of rows of `events`."""
        whole = EVENTS.c.correlation_id == self.order_id
        if self.in_full:
            return whole
        own = EVENTS.c.key == self.order_id
        return and_(whole, own, EVENTS.c.event_type.not_in(OPERATORS_ONLY))


def story(connection: Connection, caller: Caller, order_id: str) -> Visibility:
    """What the caller may see of an order; raises Rejected, alike for none and for somebody else's.

    An admin also sees what was said of an order before its own service was heard.
    """
    if caller.is_admin:
        return Visibility(order_id, in_full=True)
    query = select(ORDERS.c.user_id, ORDERS.c.guest).where(ORDERS.c.order_id == order_id)
    order = connection.execute(query).first()
    if order is None or not (order.guest or order.user_id == caller.user_id):
        raise unknown_order(order_id)
    return Visibility(order_id)


def own_orders(caller: Caller) -> ColumnElement[bool]:
    """The orders that a list may show the caller: never a guest's, to anyone but an admin."""
    if caller.is_admin:
        return true()
    return and_(ORDERS.c.user_id == caller.user_id, ORDERS.c.guest.is_(False))


def unknown_order(order_id: str) -> Rejected:
    """The answer for an order that is not there, or not for the caller to see."""
    return Rejected("unknown-order", f"there is no order {order_id}")
