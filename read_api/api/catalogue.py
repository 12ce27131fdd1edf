"""Products and their stock over HTTP."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from read_api.api.dependencies import ReadApi
from read_api.api.limits import count_search
from read_api.api.params import PUBLIC, RESTRICTED, Cursor, PageSize, Words
from read_api.queries import products
from read_api.queries.products import ProductFilter, ProductOrder
from read_api.schemas import CategoryPage, ProductPage, ProductView, StockPage
from shared.chassis.http.auth import admin_only
from shared.chassis.http.problems import responses
from shared.chassis.http.representation import PUBLIC_DATA
from shared.chassis.http.request_body import ServiceRequest

MAX_PRICE = 2**53 - 1

Category = Annotated[str | None, QueryParameter(description="only this category")]
Order = Annotated[
    ProductOrder,
    QueryParameter(name="sort", description="`-` stands for the highest first; equal ones by id"),
]
MinPrice = Annotated[
    int | None,
    QueryParameter(
        name="minPrice", ge=0, le=MAX_PRICE, description="only those that cost this or more"
    ),
]
MaxPrice = Annotated[
    int | None,
    QueryParameter(
        name="maxPrice", ge=0, le=MAX_PRICE, description="only those that cost this or less"
    ),
]
InStock = Annotated[
    bool | None,
    QueryParameter(name="inStock", description="only those of which some, or none, are available"),
]


class CatalogueController(Controller):
    """`/products` and `/categories` for everyone, `/inventory` for admins."""

    tags = ("catalogue",)

    @get("/products", cache_control=PUBLIC_DATA, responses=PUBLIC | responses("too-many-requests"))
    async def list_products(  # noqa: PLR0917 - Litestar passes them by name
        self,
        request: ServiceRequest,
        read_api: NamedDependency[ReadApi],
        words: Words = "",
        category: Category = None,
        min_price: MinPrice = None,
        max_price: MaxPrice = None,
        in_stock: InStock = None,
        order: Order = ProductOrder.ID,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> ProductPage:
        """The catalogue with its stock, or the products with these words in name, description, category or id."""
        count_search(read_api.limits, request, words)
        product_filter = ProductFilter(
            words=words,
            category=category,
            min_price=min_price,
            max_price=max_price,
            in_stock=in_stock,
        )
        return await products.list_products(read_api.reader, product_filter, order, cursor, limit)

    @get("/categories", cache_control=PUBLIC_DATA, responses=PUBLIC)
    async def list_categories(
        self, read_api: NamedDependency[ReadApi], cursor: Cursor = None, limit: PageSize = 50
    ) -> CategoryPage:
        """The categories of the products on sale, by name, with the number of products in each."""
        return await products.list_categories(read_api.reader, cursor, limit)

    @get(
        "/products/{product_id:str}",
        cache_control=PUBLIC_DATA,
        responses=PUBLIC | responses("unknown-product"),
    )
    async def show_product(
        self, read_api: NamedDependency[ReadApi], product_id: FromPath[str]
    ) -> ProductView:
        """One product with its stock."""
        return await products.find_product(read_api.reader, product_id)

    @get("/inventory", guards=[admin_only], responses=RESTRICTED)
    async def list_stock(
        self, read_api: NamedDependency[ReadApi], cursor: Cursor = None, limit: PageSize = 50
    ) -> StockPage:
        """The stock of every product, deleted ones included."""
        return await products.list_stock(read_api.reader, cursor, limit)
