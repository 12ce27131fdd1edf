"""Products and their stock, by product id."""

from msgspec import Struct
from sqlalchemy import Select, bindparam, select

from read_api.queries.search import fetch_search, product_matches
from read_api.schemas import ProductPage, ProductView, StockPage, StockView
from read_api.tables import PRODUCTS
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import to_views, view_as_json


class ProductFilter(Struct, frozen=True, kw_only=True):
    """Which products: with every word of `words` somewhere in their texts."""

    words: str = ""
    category: str | None = None


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


async def list_products(
    reader: Reader, product_filter: ProductFilter, cursor: str | None, limit: int
) -> ProductPage:
    """The catalogue. Raises BadRequest for a search that is too expensive."""
    query = _PRODUCTS.where(*product_matches(product_filter.words, reader.dialect))
    if product_filter.category is not None:
        query = query.where(PRODUCTS.c.category == product_filter.category)
    rows = await fetch_search(reader, _BY_ID.select(query, cursor, limit))
    return page_of(
        to_views(rows, ProductView),
        limit,
        lambda product: product,
        lambda product: to_cursor(product.product_id),
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
