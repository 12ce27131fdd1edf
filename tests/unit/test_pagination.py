"""Cursors are accepted only as this service made them, and pages of a list join without gap or overlap."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, select

from shared.chassis.http.pagination import (
    EARLIEST,
    LATEST,
    Keyset,
    Page,
    bounded,
    from_cursor,
    page_of,
    to_cursor,
)
from shared.chassis.http.problems import BadRequest

METADATA = MetaData()
SALES = Table(
    "sales", METADATA, Column("revenue", Integer), Column("product_id", Text, primary_key=True)
)
BEST_FIRST = Keyset(tuple[int, str], SALES.c.revenue.desc(), SALES.c.product_id.asc())


@given(st.text())
def test_cursor_round_trips(key: str) -> None:
    assert from_cursor(to_cursor(key), tuple[str]) == (key,)


@given(st.text())
def test_other_text_is_rejected_as_a_cursor(text: str) -> None:
    try:
        key = from_cursor(text, tuple[datetime, str])
    except BadRequest:
        return
    assert key
    assert EARLIEST <= bounded(key[0]) <= LATEST


def test_cursor_of_another_list_is_rejected() -> None:
    with pytest.raises(BadRequest, match="cursor"):
        from_cursor(to_cursor("prod001"), tuple[datetime, str])


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_any_client_time_is_bounded(moment: datetime) -> None:
    assert EARLIEST <= bounded(moment).astimezone(UTC) <= LATEST


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_pages_join_to_the_sorted_list(revenues: list[int], limit: int) -> None:
    sales = [(revenue, f"p{number:02}") for number, revenue in enumerate(revenues)]
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        if sales:
            rows = [{"revenue": revenue, "product_id": product} for revenue, product in sales]
            connection.execute(SALES.insert(), rows)
        pages = [first := next_page(connection, None, limit)]
        cursor = first.next_cursor
        while cursor and len(pages) <= len(sales):
            pages.append(page := next_page(connection, cursor, limit))
            cursor = page.next_cursor
    engine.dispose()
    assert all(len(page.items) == limit for page in pages[:-1])
    assert [sale for page in pages for sale in page.items] == sorted(
        sales, key=lambda sale: (-sale[0], sale[1])
    )


def next_page(connection, cursor: str | None, limit: int) -> Page[tuple[int, str]]:
    rows = connection.execute(BEST_FIRST.select(select(SALES), cursor, limit)).all()
    return page_of(rows, limit, tuple, lambda row: to_cursor(*row))
