"""Finding products by any part of their words, in any script.

SQLite looks up words of three characters and more in an index of trigrams, which triggers keep in the very
transaction that changes the product. Shorter words, and all words on PostgreSQL, are looked for in every product.
"""

from sqlalchemy import (
    DDL,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    or_,
    select,
)
from sqlalchemy.schema import ExecutableDDLElement

from read_api.tables import PRODUCTS

MOST_CHARACTERS = 200
INDEXED_FROM = 3
"""Characters; shorter words have no trigram."""

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


def matches(wanted: str, dialect: str) -> list[ColumnElement[bool]]:
    """What holds of the products in which every word of `wanted` occurs, whatever characters it is made of."""
    words = "".join(each if each.isprintable() else " " for each in wanted).split()
    indexed = [word for word in words if len(word) >= INDEXED_FROM and dialect == "sqlite"]
    conditions = [_occurs(word) for word in words if word not in indexed]
    if indexed:
        conditions.append(_is_indexed_under(indexed))
    return conditions


def _occurs(word: str) -> ColumnElement[bool]:
    return or_(*(text.icontains(word, autoescape=True) for text in _TEXTS))


def _is_indexed_under(words: list[str]) -> ColumnElement[bool]:
    phrases = " ".join('"{}"'.format(word.replace('"', '""')) for word in words)
    found = select(_INDEX.c.rowid).where(_INDEX.c.product_search.op("MATCH")(phrases))
    return PRODUCTS.c.number.in_(found)
