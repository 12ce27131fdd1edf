"""Entities in tables: what is saved is loaded again, and nothing else is read or written."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated

import pytest
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
)

from shared.chassis.messages.touches import References, id_of
from shared.chassis.storage.database import Json
from shared.chassis.storage.entity_store import EntityStore, EntityTable

BookId = Annotated[str, id_of("book")]


class Status(StrEnum):
    OPEN = "OPEN"
    CLOSED = "CLOSED"


class Copy(Struct, frozen=True, kw_only=True, rename="camel"):
    book_id: BookId
    copy_number: int


class Reader(Struct, frozen=True, kw_only=True):
    reader_id: str
    email: str
    status: Status = Status.OPEN
    tags: tuple[str, ...] = ()
    loans: tuple[Copy, ...] = ()


class Book(Struct, frozen=True, kw_only=True):
    book_id: str
    title: str | None = None


class Waitlist(Struct, frozen=True, kw_only=True):
    reader_id: str
    copies: tuple[Copy, ...] = ()


class Library(Struct, frozen=True, kw_only=True):
    books: Mapping[str, Book] = {}
    readers: Mapping[str, Reader] = {}
    waitlists: Mapping[str, Waitlist] = {}


METADATA = MetaData()
BOOKS = Table("books", METADATA, Column("book_id", Text, primary_key=True), Column("title", Text))
READERS = Table(
    "readers",
    METADATA,
    Column("reader_id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("tags", Json, nullable=False),
)
LOANS = Table(
    "loans",
    METADATA,
    Column("reader_id", Text, ForeignKey(READERS.c.reader_id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("book_id", Text, ForeignKey(BOOKS.c.book_id), nullable=False),
    Column("copy_number", Integer, nullable=False),
)
WAITLIST = Table(
    "waitlists",
    METADATA,
    Column("reader_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("book_id", Text, nullable=False),
    Column("copy_number", Integer, nullable=False),
)
BOOK_TABLE = EntityTable(Book, BOOKS, "book")
READER_TABLE = EntityTable(
    Reader, READERS, "reader", children={"loans": LOANS}, also_by={"email": "email"}, follows=True
)
WAITLIST_TABLE = EntityTable(Waitlist, None, "reader", children={"copies": WAITLIST})
STORE = EntityStore(Library, books=BOOK_TABLE, readers=READER_TABLE, waitlists=WAITLIST_TABLE)

BOOKS_BY_ID = {name: Book(book_id=name, title=name.upper()) for name in ("b1", "b2", "b3")}
ANN = Reader(
    reader_id="ann",
    email="ann@example.com",
    status=Status.CLOSED,
    tags=("slow",),
    loans=(Copy(book_id="b2", copy_number=7), Copy(book_id="b1", copy_number=3)),
)
BOB = Reader(reader_id="bob", email="bob@example.com")
FULL = Library(
    books=BOOKS_BY_ID,
    readers={"ann": ANN, "bob": BOB},
    waitlists={"ann": Waitlist(reader_id="ann", copies=(Copy(book_id="b3", copy_number=1),))},
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        METADATA.create_all(connection)
        STORE.save(connection, Library(), FULL)
        yield connection
    engine.dispose()


@pytest.fixture
def statements(connection: Connection) -> list[str]:
    """Those that the test has sent to the database."""
    texts: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        texts.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    return texts


def referring(**ids: str) -> References:
    references = References()
    for kind, entity_id in ids.items():
        references[kind].add(entity_id)
    return references


def test_saved_state_is_read_again(connection: Connection) -> None:
    assert STORE.read_all(connection) == FULL


def test_load_returns_only_referenced_entities(connection: Connection) -> None:
    assert STORE.load(connection, referring(book="b3")) == Library(books={"b3": BOOKS_BY_ID["b3"]})


def test_nothing_referenced_asks_no_database(connection: Connection, statements: list[str]) -> None:
    assert STORE.load(connection, References()) == Library()
    assert statements == []


def test_children_keep_their_order(connection: Connection) -> None:
    assert READER_TABLE.find(connection, "ann") == ANN


def test_loaded_entity_brings_those_it_touches(connection: Connection) -> None:
    library = STORE.load(connection, referring(reader="ann"))
    assert set(library.books) == {"b1", "b2"}
    assert set(library.waitlists) == {"ann"}


def test_entity_is_found_by_its_second_id(connection: Connection) -> None:
    assert STORE.load(connection, referring(email="bob@example.com")).readers == {"bob": BOB}


def test_entity_found_by_both_ids_is_loaded_once(connection: Connection) -> None:
    library = STORE.load(connection, referring(reader="ann", email="ann@example.com"))
    assert library.readers == {"ann": ANN}


def test_only_changed_entity_is_written(connection: Connection, statements: list[str]) -> None:
    moved = replace(BOB, email="bob@example.org")
    STORE.save(connection, FULL, replace(FULL, readers={**FULL.readers, "bob": moved}))
    assert len(statements) == 1
    assert READER_TABLE.find(connection, "bob") == moved
    assert READER_TABLE.find(connection, "ann") == ANN


def test_unchanged_state_is_not_written(connection: Connection, statements: list[str]) -> None:
    STORE.save(connection, FULL, replace(FULL, readers=dict(FULL.readers)))
    assert statements == []


def test_changed_children_replace_previous_ones(connection: Connection) -> None:
    after = replace(ANN, loans=(Copy(book_id="b3", copy_number=5),))
    STORE.save(connection, FULL, replace(FULL, readers={**FULL.readers, "ann": after}))
    assert READER_TABLE.find(connection, "ann") == after


def test_children_of_an_existing_entity_are_inserted(connection: Connection) -> None:
    after = replace(BOB, loans=(Copy(book_id="b3", copy_number=5),))
    STORE.save(connection, FULL, replace(FULL, readers={**FULL.readers, "bob": after}))
    assert READER_TABLE.find(connection, "bob") == after


def test_removed_entity_is_deleted_with_children(connection: Connection) -> None:
    after = replace(FULL, readers={"bob": BOB}, waitlists={})
    STORE.save(connection, FULL, after)
    assert STORE.read_all(connection) == after


def test_entity_without_its_own_row_is_replaced(connection: Connection) -> None:
    waitlists = Waitlist(reader_id="ann", copies=(Copy(book_id="b1", copy_number=2),))
    STORE.save(connection, FULL, replace(FULL, waitlists={"ann": waitlists}))
    assert WAITLIST_TABLE.find(connection, "ann") == waitlists
    assert WAITLIST_TABLE.find(connection, "bob") is None


def test_field_without_a_table_is_refused() -> None:
    with pytest.raises(TypeError, match="Library has the fields"):
        EntityStore(Library, books=BOOK_TABLE)
