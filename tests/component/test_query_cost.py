"""A page of a list costs the same however long the shop has been open: counted in steps of SQLite's virtual machine."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Engine

from read_api.queries.carts import list_carts
from read_api.queries.customers import find_customer
from read_api.queries.orders import OrderFilter, list_orders
from shared.chassis.http.auth import Caller
from shared.chassis.storage.reader import Reader
from shared.contracts import CustomerRegistered, ItemAddedToCart, OrderCreated, OrderItem
from shared.contracts.order import OrderStatus
from shared.order_number import order_number
from tests.support.histories import Log, log_of
from tests.support.read_api_process import projecting

ADMIN = Caller(user_id="admin", is_admin=True, is_operator=True)
JANE = Caller(user_id="u1")
LIMIT = 5
FEW, MANY = 400, 2400
TOLERANCE = 1.3
"""Deeper trees take a few more steps."""

Query = Callable[[Reader], Awaitable[Any]]


def orders(caller: Caller = ADMIN, **fields: Any) -> Query:
    order_filter = OrderFilter(**fields)
    return lambda reader: list_orders(reader, caller, order_filter, None, LIMIT)


QUERIES: dict[str, Query] = {
    "orders": orders(),
    "orders of a customer": orders(user_id="u1"),
    "own orders": orders(JANE),
    "own orders of a product": orders(JANE, product_id="p1"),
    "orders in a status": orders(status=OrderStatus.PENDING),
    "orders by number": orders(number=order_number("o000001")),
    "orders by address": orders(email="Guest1@example.com"),
    "orders by a customer's address": orders(email="u1@example.com"),
    "orders by product": orders(product_id="p1"),
    "orders by product and status": orders(product_id="p1", status=OrderStatus.PENDING),
    "carts": lambda reader: list_carts(reader, None, LIMIT),
    "a customer": lambda reader: find_customer(reader, "u1"),
}


def history(number: int) -> Log:
    """Customers, each with a cart, and their orders and those of guests."""
    events: list[Any] = []
    for index in range(number):
        user = f"u{index}"
        events += [
            CustomerRegistered(user_id=user, email=f"{user}@example.com"),
            ItemAddedToCart(user_id=user, product_id="p1", quantity=1, price=100),
        ]
    for index in range(number):
        item = OrderItem(product_id=f"p{index % 3}", quantity=1, price=100)
        events.append(
            OrderCreated(
                order_id=f"o{index:06}",
                user_id=f"u{index % 20}",
                guest=bool(index % 2 == 0),
                email=f"guest{index % 20}@example.com" if index % 2 == 0 else None,
                items=(item, item),
                total_amount=200,
                currency="JPY",
            )
        )
    return log_of("order", *events)


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What the engines execute meanwhile."""
    executed: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        executed.append((statement, parameters))

    sqlalchemy.event.listen(Engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", record)


def steps(file: Path, statement: str, parameters: Any) -> int:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with closing(sqlite3.connect(file)) as connection:
        connection.set_progress_handler(step, 1)
        connection.execute(statement, parameters).fetchall()
    return count


async def costs(file: Path, number: int) -> dict[str, int]:
    async with projecting(file) as projection:
        await projection.projector.deliver(history(number))
        result = {}
        for name, query in QUERIES.items():
            with statements() as executed:
                await query(projection.reader)
            selects = [one for one in executed if one[0].startswith("SELECT")]
            result[name] = sum(steps(file, *one) for one in selects)
    return result


async def test_pages_cost_the_same_with_more_history(tmp_path: Path):
    few = await costs(tmp_path / "few.db", FEW)
    many = await costs(tmp_path / "many.db", MANY)
    assert all(few.values())
    growing = {name: (few[name], many[name]) for name in few if many[name] > TOLERANCE * few[name]}
    assert growing == {}
