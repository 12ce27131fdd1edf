"""SQL that SQLAlchemy does not write cheaply: a column that is any of many strings, and one statement for many rows."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    TableValuedAlias,
    Text,
    TypeDecorator,
    Update,
    bindparam,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def any_of(column: Column[str], name: str) -> ColumnElement[bool]:
    """Whether the column is any of the strings that the statement is run with under `name`.

    A single parameter: an expanding `IN` is another statement for each number of strings, which SQLAlchemy has to
    write and SQLite to parse.
    """
    return _AnyOf(column, bindparam(name, type_=_Texts()))


def each_of(name: str) -> TableValuedAlias:
    """The strings given under `name`, as the rows of a table with the column `value`."""
    return _EachOf(bindparam(name, type_=_Texts())).table_valued(
        Column("value", Text), name="value"
    )


def execute_many(
    connection: Connection, statement: Insert | Update | Delete, rows: Sequence[dict[str, Any]]
) -> None:
    """Run the statement for each row, if there is any; all have the same keys, one for each parameter.

    It is compiled once and handed to the driver as it is: SQLAlchemy would look at every parameter of every row again,
    which took a third of a transaction's time. So the statement must be one that is built once.
    """
    if not rows:
        return
    text, converts = _prepare(statement, connection.dialect, tuple(rows[0]))
    parameters = [row.copy() for row in rows]
    for name, convert in converts.items():
        for row in parameters:
            row[name] = convert(row[name])
    connection.exec_driver_sql(text, parameters)


class _Texts(TypeDecorator[Sequence[str]]):
    """An array where there are arrays, JSON elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(Text()) if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:  # noqa: ANN401 - text, or an array
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else msgspec.json.encode(texts).decode()


class _AnyOf(FunctionElement[bool]):
    """Without the type Boolean, which SQLite has not: `(…) = 1` would use no index."""

    inherit_cache = True


@compiles(_AnyOf, "sqlite")
def _in_json(element: _AnyOf, compiler: SQLCompiler, **_: object) -> str:
    column, texts = map(compiler.process, element.clauses)
    return f"({column} IN (SELECT value FROM json_each({texts})))"  # noqa: S608 - compiled expressions


@compiles(_AnyOf, "postgresql")
def _in_array(element: _AnyOf, compiler: SQLCompiler, **_: object) -> str:
    column, texts = map(compiler.process, element.clauses)
    return f"({column} = ANY({texts}))"


class _EachOf(FunctionElement[str]):
    inherit_cache = True


@compiles(_EachOf, "sqlite")
def _each_in_json(element: _EachOf, compiler: SQLCompiler, **_: object) -> str:
    return f"json_each({compiler.process(element.clauses)})"


@compiles(_EachOf, "postgresql")
def _each_in_array(element: _EachOf, compiler: SQLCompiler, **_: object) -> str:
    return f"unnest({compiler.process(element.clauses)})"


class _Prepared(NamedTuple):
    text: str
    converts: Mapping[str, Callable[[Any], Any]]
    """From Python to the driver, for the columns that need it."""


@lru_cache(maxsize=512)
def _prepare(
    statement: Insert | Update | Delete, dialect: Dialect, columns: tuple[str, ...]
) -> _Prepared:
    if dialect.positional:  # SQLite's driver takes names as well
        dialect = type(dialect)(paramstyle="named")  # type: ignore[call-arg]  # every dialect takes it
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    converts = {
        name: convert
        for name, parameter in compiled.binds.items()
        if (convert := parameter.type.dialect_impl(dialect).bind_processor(dialect))
    }
    return _Prepared(str(compiled), converts)
