"""Archive who caused an event, and give archived events the schema of this release, in which addresses have fields."""

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.contracts.upcasters import UPCASTERS

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.add_column("events", sa.Column("actor", sa.Text))
    _structure_addresses()


def _structure_addresses() -> None:
    """Readers see one form of each event, whichever release archived it."""
    connection = op.get_bind()
    query = sa.text("""
        SELECT event_type, source, position, data FROM events
        WHERE event_type IN ('OrderCreated', 'ShipmentInitiated') AND schema_version = 1
    """)
    update = sa.text("""
        UPDATE events SET data = :data, schema_version = 2
        WHERE source = :source AND position = :position
    """)
    for event_type, source, position, data in connection.execute(query).all():
        upcast = UPCASTERS[event_type, 1](msgspec.json.decode(data))
        values = {"source": source, "position": position}
        connection.execute(update, values | {"data": msgspec.json.encode(upcast).decode()})
