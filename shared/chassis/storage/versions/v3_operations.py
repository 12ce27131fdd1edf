"""Add what operations need.

When the stream was last compared with the event log; the subscribed event types whose past is handled; the origin of dead letters and who discarded them; redrives.
"""

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
    op.drop_column("derived_state", "cursor")
    op.create_table(
        "subscribed_type",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("event_type", sa.Text, primary_key=True),
        sa.Column("replay_since", sa.Text),
    )
    _rebuild_dead_letters()
    op.create_table(
        "redrive",
        sa.Column("redrive_id", sa.Text, primary_key=True),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_at", sa.Text, nullable=False),
    )
    op.create_index("redrive_age", "redrive", ["requested_at"])
    op.create_table(
        "redrive_item",
        sa.Column("item_id", sa.Integer, primary_key=True),
        sa.Column("redrive_id", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("requested_at", sa.Text, nullable=False),
        sa.Column("settled_at", sa.Text),
        sa.UniqueConstraint("redrive_id", "event_id"),
    )
    op.create_index("redrive_item_age", "redrive_item", ["requested_at"])
    op.create_index("redrive_item_event", "redrive_item", ["event_id"])
    is_pending = sa.text("outcome = 'PENDING'")
    for name, column in (("redrive_item_pending", "item_id"), ("redrive_item_pending_key", "key")):
        op.create_index(name, "redrive_item", [column], sqlite_where=is_pending)


def _rebuild_dead_letters() -> None:
    """Bodies become bytes; source and position of decoded events come from their subjects and bodies."""
    op.drop_index("dead_letter_entity", "dead_letter")
    op.rename_table("dead_letter", "dead_letter_of_format_2")
    op.create_table(
        "dead_letter",
        sa.Column("dead_letter_id", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("event_type", sa.Text),
        sa.Column("entity_id", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("position", sa.Integer),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("dead_lettered_at", sa.Text, nullable=False),
        sa.Column("discarded_at", sa.Text),
        sa.Column("discarded_by", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.execute("""
        INSERT INTO dead_letter
          (dead_letter_id, event_id, event_type, entity_id, source, position,
           status, subject, body, error, dead_lettered_at)
        SELECT dead_letter_id, event_id, event_type, entity_id,
          iif(entity_id IS NULL, NULL, substr(subject, 6, instr(substr(subject, 6), '.') - 1)),
          iif(entity_id IS NULL, NULL, CAST(json_extract(body, '$.sequence') AS INTEGER)),
          status, subject, CAST(body AS BLOB), error, dead_lettered_at
        FROM dead_letter_of_format_2 ORDER BY dead_letter_id
    """)
    op.drop_table("dead_letter_of_format_2")
    op.create_index("dead_letter_entity", "dead_letter", ["entity_id"])
