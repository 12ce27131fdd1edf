"""A column that is one of many strings, as a condition with a single parameter.

An expanding `IN` is another statement for every number of strings: SQLAlchemy writes it and SQLite parses it anew.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    TableValuedAlias,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def is_one_of(column: Column[str], name: str) -> ColumnElement[bool]:
    """Whether the column is one of the strings given under `name` when the statement is run."""
    return _IsOneOf(column, bindparam(name, type_=_Texts()))


def each_of(name: str) -> TableValuedAlias:
    """The strings given under `name`, as the rows of a table with the column `value`."""
    return _EachOf(bindparam(name, type_=_Texts())).table_valued(
        Column("value", Text), name="value"
    )


class _Texts(TypeDecorator[Sequence[str]]):
    """An array where there are arrays, JSON elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(Text()) if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:  # noqa: ANN401
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else msgspec.json.encode(texts).decode()


class _IsOneOf(FunctionElement[bool]):
    """Without the type Boolean, which SQLite has not: `(…) = 1` would use no index."""

    inherit_cache = True


@compiles(_IsOneOf, "sqlite")
def _in_json(element: _IsOneOf, compiler: SQLCompiler, **_: object) -> str:
    column, texts = map(compiler.process, element.clauses)
    return f"({column} IN (SELECT value FROM json_each({texts})))"  # noqa: S608


@compiles(_IsOneOf, "postgresql")
def _in_array(element: _IsOneOf, compiler: SQLCompiler, **_: object) -> str:
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
