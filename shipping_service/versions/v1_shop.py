"""Give the addresses of awaited orders and of bookings that are due their fields."""

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.contracts.upcasters import address_of_parts

revision = "1"
down_revision = None


def upgrade() -> None:
    _convert(
        "SELECT order_id AS key, shipping_address AS parts FROM awaited_orders"
        " WHERE shipping_address IS NOT NULL",
        "UPDATE awaited_orders SET shipping_address = :address WHERE order_id = :key",
    )
    _convert(
        "SELECT task_id AS key, json_extract(payload, '$.shippingAddress') AS parts FROM task"
        " WHERE kind = 'booking' AND json_extract(payload, '$.shippingAddress') IS NOT NULL",
        "UPDATE task SET payload = json_set(payload, '$.shippingAddress', json(:address))"
        " WHERE task_id = :key",
    )


def _convert(query: str, update: str) -> None:
    connection = op.get_bind()
    for key, parts in connection.execute(sa.text(query)).all():
        address = msgspec.json.encode(address_of_parts(msgspec.json.decode(parts))).decode()
        connection.execute(sa.text(update), {"key": key, "address": address})
