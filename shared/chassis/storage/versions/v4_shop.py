"""Add who caused an event."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    op.add_column("event_log", sa.Column("actor", sa.Text))
