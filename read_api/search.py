"""Finding products by any part of their words, in any script.

SQLite looks up words of three characters and more in an index of trigrams, which triggers keep in the very
transaction that changes the product. Shorter words, and all words on PostgreSQL, are looked for in every product,
so that their number and the time of a search are bounded.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    DDL,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    or_,
    select,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import ExecutableDDLElement

from read_api.tables import PRODUCTS
from shared.chassis.http.problems import BadRequest, FieldError

MAX_CHARACTERS = 200
INDEXED_FROM = 3
"""Characters; shorter words have no trigram."""
MAX_SHORT_WORDS = 4
"""Each is looked for in every product; Japanese words are often this short."""
MAX_SECONDS = 1.0
"""Of CPU, for one search."""
_INSTRUCTIONS = 10_000
"""Of SQLite's machine, between two looks at the clock: about a millisecond."""

_TEXTS = (PRODUCTS.c.product_id, PRODUCTS.c.name, PRODUCTS.c.description, PRODUCTS.c.category)
_NAMES = ", ".join(text.name for text in _TEXTS)
_NEW = ", ".join(f"new.{text.name}" for text in _TEXTS)
_IS_OTHER = " OR ".join(
    f"old.{text.name} IS NOT new.{text.name}" for text in (*_TEXTS, PRODUCTS.c.number)
)

_INDEX = Table(
    "product_search", MetaData(), Column("rowid", Integer), Column("product_search", Text)
)
"""Made as below; `rowid` is the product's number, and the column of the table's own name is what is matched."""

_STATEMENTS = (
    f"CREATE VIRTUAL TABLE product_search USING fts5 ({_NAMES}, tokenize = 'trigram')",
    f"""
    CREATE TRIGGER product_found AFTER INSERT ON products BEGIN
      INSERT INTO product_search (rowid, {_NAMES}) VALUES (new.number, {_NEW});
    END
    """,  # noqa: S608 - names of columns
    f"""
    CREATE TRIGGER product_found_otherwise AFTER UPDATE ON products WHEN {_IS_OTHER} BEGIN
      DELETE FROM product_search WHERE rowid = old.number;
      INSERT INTO product_search (rowid, {_NAMES}) VALUES (new.number, {_NEW});
    END
    """,  # noqa: S608
)


def _in_sqlite(statement: str) -> ExecutableDDLElement:
    ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    return ddl.execute_if(dialect="sqlite")


for _statement in _STATEMENTS:
    event.listen(PRODUCTS, "after_create", _in_sqlite(_statement))


def distinct_words(text: str) -> list[str]:
    """The words in `text`, each once, whatever characters they are made of."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return list(dict.fromkeys(printable.split()))


def matches(wanted: str, dialect: str) -> list[ColumnElement[bool]]:
    """What holds of the products in which every word of `wanted` occurs. Raises BadRequest."""
    words = distinct_words(wanted)
    short = [word for word in words if len(word) < INDEXED_FROM]
    if len(short) > MAX_SHORT_WORDS:
        wrong = f"at most {MAX_SHORT_WORDS} different words of fewer than {INDEXED_FROM} characters"
        raise BadRequest(FieldError(field="q", message=wrong))
    indexed = [word for word in words if word not in short and dialect == "sqlite"]
    conditions = [_occurs(word) for word in words if word not in indexed]
    if indexed:
        conditions.append(_is_indexed_under(indexed))
    return conditions


@contextmanager
def bounded_time(connection: Connection, seconds: float = MAX_SECONDS) -> Iterator[None]:
    """End a search that costs more CPU than this, also when its client is gone. Raises BadRequest."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        yield
        return
    end = time.thread_time() + seconds
    driver.set_progress_handler(lambda: time.thread_time() > end, _INSTRUCTIONS)
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        wrong = "this search takes too long: use fewer or longer words"
        raise BadRequest(FieldError(field="q", message=wrong)) from error
    finally:
        driver.set_progress_handler(None, 0)


def _occurs(word: str) -> ColumnElement[bool]:
    return or_(*(text.icontains(word, autoescape=True) for text in _TEXTS))


def _is_indexed_under(words: list[str]) -> ColumnElement[bool]:
    phrases = " ".join('"{}"'.format(word.replace('"', '""')) for word in words)
    found = select(_INDEX.c.rowid).where(_INDEX.c.product_search.op("MATCH")(phrases))
    return PRODUCTS.c.number.in_(found)
