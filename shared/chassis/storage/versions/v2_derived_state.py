"""Add the table that notes how the derived tables were built."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "derived_state",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("tables", sa.Text, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("is_complete", sa.Boolean, nullable=False),
    )
