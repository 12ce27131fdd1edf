"""Products and their stock, and the categories of products."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Select, bindparam, func, select

from read_api.queries.search import fetch_search, product_matches
from read_api.schemas import (
    CategoryPage,
    CategoryView,
    ProductPage,
    ProductView,
    StockPage,
    StockView,
)
from read_api.tables import PRODUCTS
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import to_views, view_as_json


class ProductFilter(Struct, frozen=True, kw_only=True):
    """Which products: with every word of `words` somewhere in their texts. Prices are in the minor unit."""

    words: str = ""
    category: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None
    """Whether some are available."""


class ProductOrder(StrEnum):
    """The order of a list of products; those that are equal in it are sorted by id."""

    ID = "productId"
    NAME = "name"
    CHEAPEST_FIRST = "price"
    DEAREST_FIRST = "-price"
    FEWEST_FIRST = "available"
    MOST_FIRST = "-available"
    NEWEST_FIRST = "newest"


AVAILABLE = PRODUCTS.c.on_hand - PRODUCTS.c.reserved
_IS_SOLD = PRODUCTS.c.is_deleted.is_(False)
_PRODUCTS = select(view_as_json(ProductView, PRODUCTS, available=AVAILABLE)).where(_IS_SOLD)
_PRODUCT = _PRODUCTS.where(PRODUCTS.c.product_id == bindparam("product_id"))
_STOCK = select(view_as_json(StockView, PRODUCTS, available=AVAILABLE))
_LOWEST_STOCK = (
    _STOCK.where(_IS_SOLD, bindparam("max_available") >= AVAILABLE)
    .order_by(AVAILABLE, PRODUCTS.c.product_id)
    .limit(bindparam("limit"))
)
_BY_ID = Keyset(tuple[str], PRODUCTS.c.product_id.asc())
_CATEGORIES = (
    select(PRODUCTS.c.category, func.count().label("products"))
    .where(_IS_SOLD, PRODUCTS.c.category.is_not(None))
    .group_by(PRODUCTS.c.category)
)
_BY_CATEGORY = Keyset(tuple[str], PRODUCTS.c.category.asc())

Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Sorting(NamedTuple):
    keyset: Keyset[Any]
    fields: tuple[str, ...]
    """Of the keyset's columns, in the view."""


_THEN_BY_ID = PRODUCTS.c.product_id.asc()
_BY_NAME = Keyset(tuple[str, str], PRODUCTS.c.name.asc(), _THEN_BY_ID)
_CHEAPEST_FIRST = Keyset(tuple[Number, str], PRODUCTS.c.price.asc(), _THEN_BY_ID)
_DEAREST_FIRST = Keyset(tuple[Number, str], PRODUCTS.c.price.desc(), _THEN_BY_ID)
_FEWEST_FIRST = Keyset(tuple[Number, str], AVAILABLE.asc(), _THEN_BY_ID)
_MOST_FIRST = Keyset(tuple[Number, str], AVAILABLE.desc(), _THEN_BY_ID)
_NEWEST_FIRST = Keyset(tuple[datetime, str], PRODUCTS.c.created_at.desc(), _THEN_BY_ID)
_SORTINGS = {
    ProductOrder.ID: _Sorting(_BY_ID, ("product_id",)),
    ProductOrder.NAME: _Sorting(_BY_NAME, ("name", "product_id")),
    ProductOrder.CHEAPEST_FIRST: _Sorting(_CHEAPEST_FIRST, ("price", "product_id")),
    ProductOrder.DEAREST_FIRST: _Sorting(_DEAREST_FIRST, ("price", "product_id")),
    ProductOrder.FEWEST_FIRST: _Sorting(_FEWEST_FIRST, ("available", "product_id")),
    ProductOrder.MOST_FIRST: _Sorting(_MOST_FIRST, ("available", "product_id")),
    ProductOrder.NEWEST_FIRST: _Sorting(_NEWEST_FIRST, ("created_at", "product_id")),
}


async def list_products(
    reader: Reader,
    product_filter: ProductFilter,
    order: ProductOrder,
    cursor: str | None,
    limit: int,
) -> ProductPage:
    """The catalogue. Raises BadRequest for a search that is too expensive."""
    query = _PRODUCTS.where(*_conditions(product_filter, reader.dialect))
    keyset, fields = _SORTINGS[order]
    rows = await fetch_search(reader, keyset.select(query, cursor, limit))
    return page_of(
        to_views(rows, ProductView),
        limit,
        lambda product: product,
        lambda product: to_cursor(*(getattr(product, field) for field in fields)),
    )


def _conditions(product_filter: ProductFilter, dialect: str) -> Iterator[ColumnElement[bool]]:
    yield from product_matches(product_filter.words, dialect)
    if product_filter.category is not None:
        yield PRODUCTS.c.category == product_filter.category
    if product_filter.min_price is not None:
        yield PRODUCTS.c.price >= product_filter.min_price
    if product_filter.max_price is not None:
        yield PRODUCTS.c.price <= product_filter.max_price
    if product_filter.in_stock is not None:
        yield AVAILABLE > 0 if product_filter.in_stock else AVAILABLE <= 0


async def list_categories(reader: Reader, cursor: str | None, limit: int) -> CategoryPage:
    """The categories of the products on sale, by name."""
    return page_of(
        await reader.fetch(_BY_CATEGORY.select(_CATEGORIES, cursor, limit)),
        limit,
        lambda row: CategoryView(category=row.category, products=row.products),
        lambda row: to_cursor(row.category),
    )


async def find_product(reader: Reader, product_id: str) -> ProductView:
    """The product. Raises Rejected for one that does not exist or was deleted."""
    product = await reader.find_view(ProductView, _PRODUCT, product_id=product_id)
    if product is None:
        raise Rejected("unknown-product", f"there is no product {product_id}")
    return product


async def list_stock(reader: Reader, cursor: str | None, limit: int) -> StockPage:
    """The stock of every product, deleted ones included."""
    return page_of(
        await reader.fetch_views(StockView, _BY_ID.select(_STOCK, cursor, limit)),
        limit,
        lambda stock: stock,
        lambda stock: to_cursor(stock.product_id),
    )


def lowest_stock(max_available: int, limit: int) -> Select[tuple[object, ...]]:
    """The stock of products on sale of which at most `max_available` are available, fewest first."""
    return _LOWEST_STOCK.params(max_available=max_available, limit=limit)
