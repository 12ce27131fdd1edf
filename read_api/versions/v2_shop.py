"""Archive who caused an event."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.add_column("events", sa.Column("actor", sa.Text))
