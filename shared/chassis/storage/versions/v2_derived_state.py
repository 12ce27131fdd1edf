"""Rename columns to the terms of the glossary; add the table that notes how the derived tables were built."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None


def upgrade() -> None:
    op.execute("ALTER TABLE task RENAME COLUMN key TO task_key")
    op.execute("ALTER TABLE inbox RENAME COLUMN heard_at TO processed_at")
    op.execute("ALTER TABLE idempotency_key RENAME COLUMN kept_at TO stored_at")
    op.execute("ALTER TABLE dead_letter RENAME COLUMN key TO entity_id")
    op.drop_index("dead_letter_key", "dead_letter")
    op.create_index("dead_letter_entity", "dead_letter", ["entity_id"])
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
