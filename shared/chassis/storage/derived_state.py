"""How the derived tables of this database were built: a fold of events that the database also keeps."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from sqlalchemy import Boolean, Column, Connection, Integer, MetaData, Table, Text, select
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from shared.chassis.storage.database import CHASSIS_METADATA, Json, upsert

DERIVED_STATE = Table(
    "derived_state",
    CHASSIS_METADATA,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="of the code that folds the events"),
    Column("digest", Text, nullable=False, comment="of the tables' definitions"),
    Column("tables", Json, nullable=False, comment="their names, parents before children"),
    Column("events", Integer, nullable=False, comment="folded when they were built"),
    Column("is_complete", Boolean, nullable=False, comment="false until they are built"),
)

_NAME = "state"


class DerivedState(NamedTuple):
    """A row of `derived_state`."""

    version: int
    digest: str
    tables: Sequence[str]
    events: int = 0
    is_complete: bool = False

    @classmethod
    def of(cls, version: int, tables: Sequence[Table]) -> Self:
        """The tables as this release defines them, not built yet."""
        return cls(version, digest_of(tables), [str(table.name) for table in tables])


def digest_of(tables: Iterable[Table]) -> str:
    """Changes with any column, constraint or index of the tables."""
    statements = [
        str(statement)
        for table in tables
        for statement in (
            CreateTable(table),
            *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name))),
        )
    ]
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()[:16]


def read(connection: Connection) -> DerivedState | None:
    """None in a database that has no derived tables yet, or does not know."""
    row = connection.execute(select(DERIVED_STATE)).one_or_none()
    if row is None:
        return None
    return DerivedState(row.version, row.digest, row.tables, row.events, row.is_complete)


def save(connection: Connection, state: DerivedState) -> None:
    upsert(connection, DERIVED_STATE, [{"name": _NAME, **state._asdict()}])


def recreate(connection: Connection, tables: Sequence[Table], old_names: Sequence[str]) -> None:
    """Drop these tables, and those that had the old names, and create them empty."""
    names = {table.name for table in tables}
    for table in reversed(tables):
        table.drop(connection, checkfirst=True)
    for name in reversed([name for name in old_names if name not in names]):
        connection.execute(DropTable(Table(name, MetaData()), if_exists=True))
    for table in tables:
        table.create(connection)
