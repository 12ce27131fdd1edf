"""Product search on a real database: words of any script and length, after any change."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from read_api.queries.products import ProductFilter, ProductOrder, list_products
from read_api.queries.search import fetch_search, product_matches
from read_api.tables import PRODUCTS
from shared.chassis.http.problems import BadRequest
from shared.chassis.storage.reader import CONNECTIONS
from shared.contracts import ProductCreated, ProductDeleted, ProductUpdated, StockAdded
from tests.support.histories import log_of
from tests.support.read_api_process import Projection, projecting


def product(product_id: str, name: str, description: str = "", **more: Any) -> ProductCreated:
    return ProductCreated(
        product_id=product_id, name=name, description=description, price=1, **more
    )


CATALOGUE = log_of(
    "inventory",
    product("p1", "静音メカニカルキーボード", "日本語配列", category="入力機器"),
    product("p2", '4K "Monitor"', "100% sRGB, back_lit", category="screens"),
    product("p3", "Ergonomic Mouse", "for the left hand", category="入力機器"),
    product("p4", "Old Mouse"),
    StockAdded(product_id="p3", quantity=5),
    ProductDeleted(product_id="p4"),
)


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Projection]:
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(CATALOGUE)
        yield projection


async def find(projection: Projection, words: str, category: str | None = None) -> list[str]:
    product_filter = ProductFilter(words=words, category=category)
    page = await list_products(
        projection.reader, product_filter, ProductOrder.ID, cursor=None, limit=50
    )
    return [product.product_id for product in page.items]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ["p1", "p2", "p3"]),
        (" \t\u3000", ["p1", "p2", "p3"]),
        ("キーボード", ["p1"]),
        ("語配", ["p1"]),
        ("静音\u3000キーボード", ["p1"]),
        ("入力機器", ["p1", "p3"]),
        ("入力", ["p1", "p3"]),
        ("MONITOR", ["p2"]),
        ("onito", ["p2"]),
        ("4k monitor", ["p2"]),
        ("mouse left", ["p3"]),
        ("mouse right", []),
        ("p3", ["p3"]),
        ("100%", ["p2"]),
        ("%", ["p2"]),
        ("_", ["p2"]),
        ("back_lit", ["p2"]),
        ('"Mon', ["p2"]),
        ("Old", []),
    ],
)
async def test_products_are_found_by_parts_of_words(
    catalogue: Projection, words: str, expected: list[str]
) -> None:
    assert await find(catalogue, words) == expected


async def test_category_filter_matches_exactly(catalogue: Projection) -> None:
    assert await find(catalogue, "", "入力機器") == ["p1", "p3"]
    assert await find(catalogue, "mouse", "入力機器") == ["p3"]
    assert await find(catalogue, "", "入力") == []


@pytest.mark.parametrize(
    "words",
    [
        "mouse NOT xyz",
        "mouse OR xyz",
        "NEAR(mouse left)",
        "name:mouse",
        "-mouse",
        "^mouse",
        "mouse*",
        '"""',
        "'; --",
    ],
)
async def test_search_operators_have_no_meaning(catalogue: Projection, words: str) -> None:
    assert await find(catalogue, words) == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
async def test_any_text_is_a_valid_search(catalogue: Projection, words: str) -> None:
    with suppress(BadRequest):  # too many short words
        await find(catalogue, words)


async def test_too_many_short_words_are_refused(catalogue: Projection) -> None:
    assert await find(catalogue, "e r g o mouse") == ["p3"]
    assert await find(catalogue, "o " * 90 + "mouse") == ["p3"]
    assert await find(catalogue, "ergonomic mouse the left hand for") == ["p3"]
    with pytest.raises(BadRequest, match="q: at most 4 different words of fewer than 3 characters"):
        await find(catalogue, "e r g o n mouse")


COUNT_TO = """
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT {})
SELECT count(*) FROM numbers
"""


def slow_query(steps: int) -> Any:
    return text(COUNT_TO.format(steps))


async def test_search_over_time_limit_is_refused(catalogue: Projection) -> None:
    with pytest.raises(BadRequest, match="q: this search takes too long"):
        await fetch_search(catalogue.reader, slow_query(10**12), cpu_seconds=0.05)
    assert await find(catalogue, "mouse") == ["p3"]


async def test_time_limit_ends_with_its_search(catalogue: Projection) -> None:
    for _ in range(CONNECTIONS):
        await fetch_search(catalogue.reader, slow_query(1), cpu_seconds=0)
    [(steps,)] = await catalogue.reader.fetch(slow_query(100_000))
    assert steps == 100_000


async def test_other_error_in_a_search_is_raised(catalogue: Projection) -> None:
    with pytest.raises(OperationalError, match="nowhere"):
        await fetch_search(catalogue.reader, text("SELECT nothing FROM nowhere"))


async def test_updated_product_is_found_by_new_words_only(
    catalogue: Projection,
) -> None:
    renamed = ProductUpdated(product_id="p3", name="Trackball", description="", price=1)
    again = product("p4", "New Mouse")
    log = log_of("inventory", *(event.event for event in CATALOGUE), renamed, again)
    await catalogue.projector.deliver(log)
    assert await find(catalogue, "Ergonomic") == []
    assert await find(catalogue, "trackball") == ["p3"]
    await catalogue.database.run(
        lambda connection: connection.exec_driver_sql(
            "INSERT INTO product_search (product_search) VALUES ('integrity-check')"
        )
    )


def test_other_databases_search_without_index() -> None:
    query = select(PRODUCTS.c.product_id).where(*product_matches("50% キーボード", "postgresql"))
    compiled = query.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    assert "ILIKE" in str(compiled)
    assert "MATCH" not in str(compiled)
    assert set(compiled.params.values()) == {"50/%", "キーボード"}
