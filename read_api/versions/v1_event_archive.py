"""Note the schema version of archived events, so that projections can be rebuilt after a schema has changed.

Columns and indices get the terms of the glossary.
"""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    version = sa.Column("schema_version", sa.Integer, nullable=False, server_default="1")
    op.add_column("events", version)
    op.execute("ALTER TABLE events RENAME COLUMN key TO entity_id")
    op.drop_index("events_of_key", "events")
    op.create_index(
        "events_of_entity", "events", ["entity_id", "recorded_at", "source", "position"]
    )
    op.drop_index("events_of_story", "events")
    op.create_index("events_of_correlation", "events", ["correlation_id", "source", "position"])
