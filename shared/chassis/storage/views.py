"""Rows as the structs that clients see: columns in the order of the fields, related rows as JSON in one column."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Label,
    ScalarSelect,
    Table,
    Text,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from shared.chassis.storage.database import Json

V = TypeVar("V", bound=msgspec.Struct)


def columns_of(
    view: type[msgspec.Struct], table: Table, **computed: ColumnElement[Any]
) -> list[Label[Any]]:
    """What to select for a view: for each field the computed column of its name, or the table's."""
    return [
        computed[name].label(name) if name in computed else table.c[name].label(name)
        for name in view.__struct_fields__
    ]


def to_views(rows: Iterable[Iterable[Any]], view: type[V]) -> list[V]:
    """The views of rows that start with `columns_of` the view."""
    names = view.__struct_encode_fields__
    return msgspec.convert([dict(zip(names, row, strict=False)) for row in rows], list[view])  # type: ignore[valid-type]


def one_as_json(
    view: type[msgspec.Struct], table: Table, where: ColumnElement[bool]
) -> ScalarSelect[Any]:
    """The table's row that belongs to the row of the enclosing query as one JSON object; null without one."""
    row = type_coerce(_JsonObject(*_pairs(view, table)), Json)
    return select(row).where(where).correlate_except(table).scalar_subquery()


def all_as_json(
    view: type[msgspec.Struct],
    table: Table,
    where: ColumnElement[bool],
    *order: ColumnElement[Any],
) -> ScalarSelect[Any]:
    """The table's rows that belong to the row of the enclosing query as a JSON array of objects."""
    sorted_rows = select(table).where(where).order_by(*order).correlate_except(table).subquery()
    rows = type_coerce(_JsonArray(_JsonObject(*_pairs(view, sorted_rows))), Json)
    return select(rows).scalar_subquery()


def _pairs(view: type[msgspec.Struct], table: Any) -> Iterable[ColumnElement[Any]]:  # noqa: ANN401 - a table or subquery
    names = zip(view.__struct_fields__, view.__struct_encode_fields__, strict=True)
    for name, encoded_name in names:
        column = table.c[name]
        yield literal_column(f"'{encoded_name}'")
        yield _JsonValue(column) if isinstance(column.type, Json) else column


class _JsonObject(FunctionElement[str]):
    type = Text()
    inherit_cache = True


class _JsonArray(FunctionElement[str]):
    type = Text()
    inherit_cache = True


class _JsonValue(FunctionElement[str]):
    """A column that contains JSON text, as JSON."""

    type = Text()
    inherit_cache = True


@compiles(_JsonObject, "sqlite")
def _object_in_sqlite(element: _JsonObject, compiler: SQLCompiler, **_: object) -> str:
    return f"json_object({compiler.process(element.clauses)})"


@compiles(_JsonArray, "sqlite")
def _array_in_sqlite(element: _JsonArray, compiler: SQLCompiler, **_: object) -> str:
    return f"json_group_array({compiler.process(element.clauses)})"


@compiles(_JsonValue, "sqlite")
def _value_in_sqlite(element: _JsonValue, compiler: SQLCompiler, **_: object) -> str:
    return f"json({compiler.process(element.clauses)})"


@compiles(_JsonObject, "postgresql")
def _object_in_postgresql(element: _JsonObject, compiler: SQLCompiler, **_: object) -> str:
    return f"json_build_object({compiler.process(element.clauses)})"


@compiles(_JsonArray, "postgresql")
def _array_in_postgresql(element: _JsonArray, compiler: SQLCompiler, **_: object) -> str:
    return f"coalesce(json_agg({compiler.process(element.clauses)}), '[]')"


@compiles(_JsonValue, "postgresql")
def _value_in_postgresql(element: _JsonValue, compiler: SQLCompiler, **_: object) -> str:
    return f"CAST({compiler.process(element.clauses)} AS json)"
