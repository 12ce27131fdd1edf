"""A service's state in its tables: each field of the state struct maps ids to frozen entities of one table.

Entities are compared by identity: `evolve` puts a new object into the state for whatever it changes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect
from sqlalchemy import Connection, Delete, Table, bindparam, select

from shared.chassis.messages.touches import References
from shared.chassis.storage.database import (
    Rows,
    column_names,
    insert_all,
    read_rows,
    select_in,
    upsert,
)
from shared.chassis.storage.sql import any_of, execute_many

State = TypeVar("State", bound=msgspec.Struct)
Entity = TypeVar("Entity", bound=msgspec.Struct)

LINE = "line"
"""The column of a child table that numbers its parent's items from 0."""


class ChildTable:
    """The structs in one tuple of an entity, a row for each: the parent's key, the line, and the struct's fields."""

    def __init__(self, parent: type[msgspec.Struct], field: str, table: Table) -> None:
        self.key = _first_key(table)
        self.items_of: Callable[[Any], tuple[msgspec.Struct, ...]] = attrgetter(field)
        self._table = table
        self._item = _item_type(parent, field)
        self._names = tuple(n for n in column_names(table) if n not in {self.key, LINE})
        self._values_of = _values_getter(self._names)
        self._all = select(*(table.c[name] for name in (self.key, LINE, *self._names)))
        self._some = self._all.where(any_of(table.c[self.key], "ids"))

    def read(
        self, connection: Connection, ids: Sequence[str] | None
    ) -> Mapping[str, list[msgspec.Struct]]:
        """The items of these parents, or of all, in order and by the parent's id."""
        items: dict[str, list[msgspec.Struct]] = defaultdict(list)
        if ids is None:
            result = connection.execute(self._all)
        elif ids:
            result = connection.execute(self._some, {"ids": ids})
        else:
            return items
        for entity_id, _, *values in sorted(result.all(), key=itemgetter(0, 1)):
            items[entity_id].append(self._item(**dict(zip(self._names, values, strict=True))))
        return items

    def insert(self, connection: Connection, parents: Mapping[str, msgspec.Struct]) -> None:
        """Write the items of these parents, which have no rows yet."""
        rows = [
            {
                self.key: entity_id,
                LINE: line,
                **dict(zip(self._names, self._values_of(item), strict=True)),
            }
            for entity_id, parent in parents.items()
            for line, item in enumerate(self.items_of(parent))
        ]
        insert_all(connection, self._table, rows)

    def delete(self, connection: Connection, ids: Iterable[str]) -> None:
        """Delete the items of these parents."""
        execute_many(
            connection, _delete(self._table), [{"deleted": entity_id} for entity_id in ids]
        )


class EntityTable(Generic[Entity]):
    """The entities of one kind: a row for each, and their tuples of structs in child tables.

    Columns are named as the entity's fields. An entity that is nothing but its items needs no table of its own.
    """

    def __init__(
        self,
        entity: type[Entity],
        table: Table | None,
        kind: str,
        *,
        children: Mapping[str, Table] | None = None,
        also_by: Mapping[str, str] | None = None,
        follows: bool = False,
        is_derived: bool = True,
    ) -> None:
        """`also_by` maps further kinds of ids to their columns; with `follows`, what a loaded entity touches is loaded.

        Derived entities are a fold of the service's own events. The others keep something of consumed events.
        """
        self.follows = follows
        self.is_derived = is_derived
        self.kind = kind
        self.tables = [*([] if table is None else [table]), *(children or {}).values()]
        self._entity = entity
        self._table = table
        self._also_by = also_by or {}
        self._children = {
            field: ChildTable(entity, field, child) for field, child in (children or {}).items()
        }
        if table is None:
            (self._key,) = {child.key for child in self._children.values()}
        else:
            self._key = _first_key(table)
            self._names = column_names(table)
            self._values_of = _values_getter(self._names)

    def read(self, connection: Connection, ids: Sequence[str]) -> dict[str, Entity]:
        """The entities with these ids, by id; those that do not exist are missing."""
        if self._table is None:
            return self._without_row(connection, ids)
        return self.assemble(connection, select_in(connection, self._table, self._key, ids))

    def find(self, connection: Connection, entity_id: str) -> Entity | None:
        """The entity with this id."""
        return self.read(connection, [entity_id]).get(entity_id)

    def read_all(self, connection: Connection) -> dict[str, Entity]:
        """All entities of the table."""
        if self._table is None:
            return self._without_row(connection, None)
        return self.assemble(connection, read_rows(connection, self._table), are_all=True)

    def assemble(
        self, connection: Connection, rows: Rows, *, are_all: bool = False
    ) -> dict[str, Entity]:
        """The entities of rows of the table, by id and in the rows' order, with their children."""
        key, entity = self._key, self._entity
        if self._children:
            ids = None if are_all else [row[key] for row in rows]
            for field, child in self._children.items():
                items = child.read(connection, ids)
                for row in rows:
                    row[field] = items.get(row[key], ())
        return {row[key]: msgspec.convert(row, entity) for row in rows}

    def load(self, connection: Connection, references: References) -> dict[str, Entity]:
        """The entities that these references name, by id."""
        entities = self.read(connection, list(references.get(self.kind, ())))
        if self._table is not None:
            for kind, column in self._also_by.items():
                values = list(references.get(kind, ()))
                rows = select_in(connection, self._table, column, values)
                entities |= self.assemble(connection, rows)
        return entities

    def save(
        self, connection: Connection, before: Mapping[str, Entity], after: Mapping[str, Entity]
    ) -> None:
        """Write the entities in which `after` differs from `before`, which `load` returned."""
        if before is after:
            return
        changed = {
            entity_id: entity
            for entity_id, entity in after.items()
            if before.get(entity_id) is not entity
        }
        if self._table is not None:
            values_of, names = self._values_of, self._names
            rows = [dict(zip(names, values_of(entity), strict=True)) for entity in changed.values()]
            upsert(connection, self._table, rows)
        removed = before.keys() - after.keys()
        for child in self._children.values():
            _save_children(connection, child, before, changed, removed)
        if self._table is not None and removed:
            rows = [{"deleted": entity_id} for entity_id in removed]
            execute_many(connection, _delete(self._table), rows)

    def _without_row(self, connection: Connection, ids: Sequence[str] | None) -> dict[str, Entity]:
        """The entities that are nothing but their items; one without any is missing."""
        entities: dict[str, dict[str, Any]] = {}
        for field, child in self._children.items():
            for entity_id, items in child.read(connection, ids).items():
                entities.setdefault(entity_id, {self._key: entity_id})[field] = items
        return {
            entity_id: msgspec.convert(row, self._entity) for entity_id, row in entities.items()
        }


class EntityStore(Generic[State]):
    """Loads the part of a service's state that a transaction needs, and saves what has changed of it."""

    def __init__(self, state: type[State], **tables: EntityTable[Any]) -> None:
        """A table for each field of `state`. A table comes after those that its foreign keys refer to."""
        if set(tables) != set(state.__struct_fields__):
            raise TypeError(f"{state.__name__} has the fields {state.__struct_fields__}")
        self._state = state
        self._tables = tables
        self.derived_tables = [
            table
            for entity_table in tables.values()
            if entity_table.is_derived
            for table in entity_table.tables
        ]
        """Tables that are a fold of the service's own events, parents before children."""
        self._load_order = sorted(tables.items(), key=lambda item: not item[1].follows)

    def load(self, connection: Connection, references: References) -> State:
        """The entities that the references name; adds to them those that loaded entities lead to."""
        fields: dict[str, Mapping[str, Any]] = {}
        for field, table in self._load_order:
            entities = fields[field] = table.load(connection, references)
            if table.follows:
                for entity in entities.values():
                    references.add(entity)
        return self._state(**fields)

    def load_any(self, connection: Connection, ids: Iterable[str]) -> State:
        """The entities of every kind that have one of these ids; adds those that loaded entities lead to."""
        references = References()
        for table in self._tables.values():
            references[table.kind].update(ids)
        return self.load(connection, references)

    def save(
        self, connection: Connection, before: State, after: State, *, only_derived: bool = False
    ) -> None:
        """Write the entities in which `after` differs from `before`, which `load` returned."""
        for field, table in self._tables.items():
            if table.is_derived or not only_derived:
                table.save(connection, getattr(before, field), getattr(after, field))

    def read_all(self, connection: Connection) -> State:
        """The whole state."""
        fields = {field: table.read_all(connection) for field, table in self._tables.items()}
        return self._state(**fields)


def _save_children(
    connection: Connection,
    child: ChildTable,
    before: Mapping[str, Any],
    changed: Mapping[str, Any],
    removed: Iterable[str],
) -> None:
    """Insert the items of new entities, and replace those of entities whose items are others now."""
    inserted: dict[str, msgspec.Struct] = {}
    deleted = list(removed)
    for entity_id, entity in changed.items():
        previous = before.get(entity_id)
        if previous is None:
            inserted[entity_id] = entity
        elif child.items_of(previous) != child.items_of(entity):
            deleted.append(entity_id)
            inserted[entity_id] = entity
    child.delete(connection, deleted)
    child.insert(connection, inserted)


def _item_type(parent: type[msgspec.Struct], field: str) -> type[Any]:
    types = {info.name: info.type for info in msgspec.structs.fields(parent)}
    match inspect.type_info(types[field]):
        case inspect.VarTupleType(item_type=inspect.StructType(cls=item)):
            return item
        case _:
            raise TypeError(f"{parent.__name__}.{field} is not a tuple of structs")


def _first_key(table: Table) -> str:
    return str(next(iter(table.primary_key)).name)


def _values_getter(names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    if len(names) == 1:
        get = attrgetter(names[0])
        return lambda entity: (get(entity),)
    return attrgetter(*names)


@cache
def _delete(table: Table) -> Delete:
    return table.delete().where(table.c[_first_key(table)] == bindparam("deleted"))
