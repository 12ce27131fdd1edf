"""Give the addresses of orders their fields.

Add the private keys that links in mails are signed with, and to mails the carrier, who cancelled the order, and why.
"""

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.contracts.upcasters import address_of_parts

revision = "1"
down_revision = None


def upgrade() -> None:
    _convert_addresses()
    for name in ("carrier", "cancelled_by", "explanation"):
        op.add_column("mails", sa.Column(name, sa.Text))
    op.create_table(
        "link_private_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("private_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )


def _convert_addresses() -> None:
    connection = op.get_bind()
    query = "SELECT order_id, shipping_address FROM known_orders WHERE shipping_address IS NOT NULL"
    update = sa.text("UPDATE known_orders SET shipping_address = :address WHERE order_id = :key")
    for key, parts in connection.execute(sa.text(query)).all():
        address = msgspec.json.encode(address_of_parts(msgspec.json.decode(parts))).decode()
        connection.execute(update, {"key": key, "address": address})
