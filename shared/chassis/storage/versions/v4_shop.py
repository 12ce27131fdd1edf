"""Add who caused an event, and what tokens and links are checked by."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    op.add_column("event_log", sa.Column("actor", sa.Text))
    _create_identity_tables()


def _create_identity_tables() -> None:
    op.create_table(
        "token_version",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Text, nullable=False),
    )
    op.create_index("token_version_age", "token_version", ["received_at"])
    op.create_table(
        "link_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("is_trusted", sa.Boolean, nullable=False),
    )
