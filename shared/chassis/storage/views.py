"""Rows as the structs that clients see: the database writes a row as one JSON object, with related rows in it.

msgspec decodes it faster than SQLAlchemy and msgspec convert the columns one by one, and an order comes with its items
in one statement. `view_as_json` is the first column of a query, `to_views` reads its rows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Label,
    ScalarSelect,
    Text,
    cast,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from shared.chassis.storage.database import Json

View = type[msgspec.Struct]
V = TypeVar("V", bound=msgspec.Struct)


def view_as_json(view: View, table: FromClause, **computed: ColumnElement[Any]) -> Label[Any]:
    """The column of a row's view: each field is the computed column of its name, or the table's."""
    return cast(_object(view, table, computed), Text).label("view")


def to_views(rows: Iterable[Sequence[Any]], view: type[V]) -> list[V]:
    """The views of rows whose first column is `view_as_json`."""
    return msgspec.json.decode(f"[{','.join(row[0] for row in rows)}]", type=list[view])  # type: ignore[valid-type]


def one_as_json(view: View, table: FromClause, where: ColumnElement[bool]) -> ScalarSelect[Any]:
    """The table's row that belongs to the row of the enclosing query; null without one."""
    row = type_coerce(_object(view, table, {}), Json)
    return select(row).where(where).correlate_except(table).scalar_subquery()


def all_as_json(
    view: View, table: FromClause, where: ColumnElement[bool], *order: ColumnElement[Any]
) -> ScalarSelect[Any]:
    """A list of the table's rows that belong to the row of the enclosing query."""
    sorted_rows = select(table).where(where).order_by(*order).correlate_except(table).subquery()
    rows = type_coerce(_JsonArray(_object(view, sorted_rows, {})), Json)
    return select(rows).scalar_subquery()


def _object(
    view: View, table: FromClause, computed: dict[str, ColumnElement[Any]]
) -> "_JsonObject":
    members: list[ColumnElement[Any]] = []
    names = zip(view.__struct_fields__, view.__struct_encode_fields__, strict=True)
    for name, encoded_name in names:
        column = computed[name] if name in computed else table.c[name]
        if isinstance(column.type, Json):
            column = _JsonValue(column)
        elif isinstance(column.type, Boolean):
            column = _JsonBoolean(column)
        members += (literal_column(f"'{encoded_name}'"), column)
    return _JsonObject(*members)


class _JsonObject(FunctionElement[str]):
    """An object with the given members: name, value, name, value …"""

    type = Text()
    inherit_cache = True


class _JsonArray(FunctionElement[str]):
    """The values of all rows."""

    type = Text()
    inherit_cache = True


class _JsonValue(FunctionElement[str]):
    """JSON in a text column."""

    type = Text()
    inherit_cache = True


class _JsonBoolean(FunctionElement[str]):
    """True or false; SQLite has only 1 and 0."""

    type = Text()
    inherit_cache = True


_TEMPLATES = {
    (_JsonObject, "sqlite"): "json_object({})",
    (_JsonObject, "postgresql"): "json_build_object({})",
    (_JsonArray, "sqlite"): "json_group_array({})",
    (_JsonArray, "postgresql"): "coalesce(json_agg({}), '[]')",
    (_JsonValue, "sqlite"): "json({})",
    (_JsonValue, "postgresql"): "CAST({} AS json)",
    (_JsonBoolean, "sqlite"): "json(iif({}, 'true', 'false'))",
    (_JsonBoolean, "postgresql"): "{}",
}


@compiles(_JsonObject)
@compiles(_JsonArray)
@compiles(_JsonValue)
@compiles(_JsonBoolean)
def _compile(element: FunctionElement[str], compiler: SQLCompiler, **_: object) -> str:
    template = _TEMPLATES[type(element), compiler.dialect.name]
    return template.format(compiler.process(element.clause_expr.element))
