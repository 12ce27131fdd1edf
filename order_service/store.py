"""The order service's tables, and what a batch reads and writes of them."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from sqlalchemy import Connection

from order_service.accounts import domain as customer_rules
from order_service.accounts import sessions
from order_service.accounts import store as customers
from order_service.carts import domain as cart_rules
from order_service.carts import store as carts
from order_service.domain import Command, OrderState
from order_service.orders import domain as order_rules
from order_service.orders import price_store as prices
from order_service.orders import store as orders
from order_service.tables import METADATA
from shared.chassis.engine.retention import RetentionRule
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import ProductCreated, ProductDeleted, ProductUpdated

__all__ = ["METADATA", "RETENTION_RULES", "load", "read_all", "save"]

RETENTION_RULES = (RetentionRule(sessions.SESSIONS.c.expires_at, timedelta()),)


def load(
    connection: Connection, commands: Sequence[Command], heard: Sequence[RecordedEvent]
) -> OrderState:
    """What these commands and events touch."""
    held = carts.load(connection, list(_cart_owners(commands)))
    products = {line.product_id for cart in held.values() for line in cart.lines}
    products |= set(_products(commands, heard))
    registering = [c for c in commands if isinstance(c, customer_rules.Command)]
    return OrderState(
        orders=orders.load(connection, list(_order_ids(commands))),
        prices=prices.load(connection, list(products)),
        carts=held,
        customers=customers.load(
            connection,
            [command.user_id for command in registering],
            [command.email for command in registering if command.email],
        ),
    )


def save(connection: Connection, before: OrderState, after: OrderState) -> None:
    """Write what has changed."""
    orders.save(connection, before.orders, after.orders)
    prices.save(connection, before.prices, after.prices)
    carts.save(connection, before.carts, after.carts)
    customers.save(connection, before.customers, after.customers)


def read_all(connection: Connection) -> OrderState:
    """The whole state, for the oracle that compares it with the event log."""
    return OrderState(
        orders=orders.read_all(connection),
        prices=prices.read_all(connection),
        carts=carts.read_all(connection),
        customers=customers.read_all(connection),
    )


def _order_ids(commands: Sequence[Command]) -> set[str]:
    return {
        command.order_id
        for command in commands
        if isinstance(command, order_rules.Command | cart_rules.CheckOut)
    }


def _cart_owners(commands: Sequence[Command]) -> set[str]:
    return {command.user_id for command in commands if isinstance(command, cart_rules.Command)}


def _products(commands: Sequence[Command], heard: Sequence[RecordedEvent]) -> Iterable[str]:
    for command in commands:
        match command:
            case order_rules.PlaceOrder(items=items):
                yield from (item.product_id for item in items)
            case cart_rules.AddToCart(product_id=product_id):
                yield product_id
            case cart_rules.ChangeInCart(product_id=product_id):
                yield product_id
            case _:
                pass
    for recorded in heard:
        event = recorded.event
        if isinstance(event, ProductCreated | ProductUpdated | ProductDeleted):
            yield event.product_id
