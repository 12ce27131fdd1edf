"""The registry of the order service's tables."""

from sqlalchemy import MetaData

METADATA = MetaData()
