"""Give the addresses of orders their fields."""

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.contracts.upcasters import address_of_parts

revision = "1"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    query = "SELECT order_id, shipping_address FROM known_orders WHERE shipping_address IS NOT NULL"
    update = sa.text("UPDATE known_orders SET shipping_address = :address WHERE order_id = :key")
    for key, parts in connection.execute(sa.text(query)).all():
        address = msgspec.json.encode(address_of_parts(msgspec.json.decode(parts))).decode()
        connection.execute(update, {"key": key, "address": address})
