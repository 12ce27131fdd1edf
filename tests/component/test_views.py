"""Views of rows that the database writes as JSON, with related rows in them."""

from datetime import UTC, datetime

import pytest
from msgspec import Struct
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    select,
)
from sqlalchemy.dialects import postgresql

from shared.chassis.storage.database import Json, UtcTime
from shared.chassis.storage.views import all_as_json, one_as_json, to_views, view_as_json

METADATA = MetaData()
BOOKS = Table(
    "books",
    METADATA,
    Column("book_id", Text, primary_key=True),
    Column("is_lent", Boolean, nullable=False),
    Column("tags", Json),
    Column("printed_at", UtcTime, nullable=False),
)
CHAPTERS = Table(
    "chapters",
    METADATA,
    Column("book_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("title", Text),
    Column("page", Integer, nullable=False),
)
PRINTED_AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


class ChapterView(Struct, frozen=True, rename="camel"):
    number: int
    title: str | None


class BookView(Struct, frozen=True, kw_only=True, rename="camel"):
    book_id: str
    is_lent: bool
    tags: dict[str, list[str]] | None
    printed_at: datetime
    chapters: list[ChapterView]
    first_chapter: ChapterView | None


IS_OF_BOOK = CHAPTERS.c.book_id == BOOKS.c.book_id
QUERY = select(
    view_as_json(
        BookView,
        BOOKS,
        chapters=all_as_json(ChapterView, CHAPTERS, IS_OF_BOOK, CHAPTERS.c.page),
        first_chapter=one_as_json(ChapterView, CHAPTERS, IS_OF_BOOK & (CHAPTERS.c.number == 1)),
    )
).order_by(BOOKS.c.book_id)


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def add_book(connection: Connection, book_id: str, *titles: str | None, **more: object) -> None:
    book = {"book_id": book_id, "is_lent": False, "tags": None, "printed_at": PRINTED_AT, **more}
    connection.execute(BOOKS.insert(), book)
    for number, title in enumerate(titles, start=1):
        chapter = {"book_id": book_id, "number": number, "title": title, "page": 100 - number}
        connection.execute(CHAPTERS.insert(), chapter)


def test_view_contains_columns_and_related_rows(connection: Connection) -> None:
    tags = {"topics": ["塔", 'a "quoted" word', "back\\slash"]}
    add_book(connection, "b1", "One", None, "Three", is_lent=True, tags=tags)
    add_book(connection, "b2")
    assert to_views(connection.execute(QUERY).all(), BookView) == [
        BookView(
            book_id="b1",
            is_lent=True,
            tags=tags,
            printed_at=PRINTED_AT,
            chapters=[ChapterView(3, "Three"), ChapterView(2, None), ChapterView(1, "One")],
            first_chapter=ChapterView(1, "One"),
        ),
        BookView(
            book_id="b2",
            is_lent=False,
            tags=None,
            printed_at=PRINTED_AT,
            chapters=[],
            first_chapter=None,
        ),
    ]


def test_no_rows_give_no_views(connection: Connection) -> None:
    assert to_views(connection.execute(QUERY).all(), BookView) == []


def test_postgresql_uses_its_own_functions() -> None:
    compiled = str(QUERY.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "json_build_object('bookId', books.book_id" in compiled
    assert "coalesce(json_agg(" in compiled
    assert "CAST(books.tags AS json)" in compiled
    assert "iif" not in compiled
