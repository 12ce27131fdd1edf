"""Note the schema version of archived events, so that projections can be rebuilt after a schema has changed."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    version = sa.Column("schema_version", sa.Integer, nullable=False, server_default="1")
    op.add_column("events", version)
