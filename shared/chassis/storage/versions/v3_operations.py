"""Add what operations need: when the stream was last compared with the event log."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.create_table(
        "stream_audit",
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("server_id", sa.Text, nullable=False),
        sa.Column("holes", sa.Integer, nullable=False),
        sa.Column("audited_at", sa.Text, nullable=False),
    )
