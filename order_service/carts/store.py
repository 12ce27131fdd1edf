"""The carts' table: a row for each line."""

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter

import msgspec
from sqlalchemy import Column, Connection, Integer, Table, Text, bindparam

from order_service.carts.domain import Cart, CartLine, Carts
from order_service.tables import METADATA
from shared.chassis.storage.database import Rows, changed, insert_all, read_rows, select_in

CARTS = Table(
    "carts",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Integer, nullable=False, comment="the list price when it was put in"),
)

_EMPTY = CARTS.delete().where(CARTS.c.user_id == bindparam("owner"))


def load(connection: Connection, user_ids: Sequence[str]) -> dict[str, Cart]:
    """The carts of these customers; an empty one is missing."""
    return _assemble(select_in(connection, CARTS, "user_id", user_ids))


def read_all(connection: Connection) -> dict[str, Cart]:
    """All that hold something."""
    return _assemble(read_rows(connection, CARTS))


def save(connection: Connection, before: Carts, after: Carts) -> None:
    """Write the changed carts anew."""
    carts = changed(before, after)
    stale = {*before.keys() - after.keys(), *(cart.user_id for cart in carts)}
    if stale:
        connection.execute(_EMPTY, [{"owner": owner} for owner in stale])
    insert_all(
        connection,
        CARTS,
        [
            {"user_id": cart.user_id, "line": number, **msgspec.structs.asdict(line)}
            for cart in carts
            for number, line in enumerate(cart.lines)
        ],
    )


def _assemble(rows: Rows) -> dict[str, Cart]:
    lines: dict[str, list[CartLine]] = defaultdict(list)
    for row in sorted(rows, key=itemgetter("user_id", "line")):
        lines[row["user_id"]].append(
            CartLine(product_id=row["product_id"], quantity=row["quantity"], price=row["price"])
        )
    return {user_id: Cart(user_id=user_id, lines=tuple(held)) for user_id, held in lines.items()}
