"""A condition on any number of strings, which uses the index."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg

from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.sql import any_of

MATCHING = select(INBOX.c.event_id).where(any_of(INBOX.c.event_id, "ids"))
NOT_MATCHING = select(INBOX.c.event_id).where(~any_of(INBOX.c.event_id, "ids"))


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    INBOX.create(engine)
    with engine.begin() as connection:
        for event_id in ("a", "b", 'c"\\,é'):
            connection.exec_driver_sql("INSERT INTO inbox VALUES (?, '')", (event_id,))
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], set()),
        (["b", "x", "b"], {"b"}),
        (['c"\\,é'], {'c"\\,é'}),
        ([str(number) for number in range(50_000)] + ["a"], {"a"}),
    ],
    ids=["none", "some", "special characters", "many"],
)
def test_any_of_matches_listed_strings(
    connection: Connection, ids: list[str], expected: set[str]
) -> None:
    assert set(connection.execute(MATCHING, {"ids": ids}).scalars()) == expected


def test_negated_any_of_matches_the_rest(connection: Connection) -> None:
    assert connection.execute(NOT_MATCHING, {"ids": ["a", 'c"\\,é']}).scalars().all() == ["b"]


def test_any_of_uses_the_sqlite_index(connection: Connection) -> None:
    text = MATCHING.compile(dialect=sqlite.dialect()).string
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("[]",)).all()
    assert "SEARCH inbox USING COVERING INDEX" in plan[0][3]


def test_any_of_compiles_to_postgresql_array() -> None:
    text = MATCHING.compile(dialect=psycopg.dialect()).string
    assert "inbox.event_id = ANY(%(ids)s::TEXT[])" in text
