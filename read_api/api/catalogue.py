"""Products and their stock over HTTP."""

from functools import partial
from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.params import FromPath, QueryParameter

from read_api import queries
from read_api.api.dependencies import Parts
from read_api.api.limits import count_search
from read_api.api.params import PUBLIC, PUBLIC_OR_NOTHING, RESTRICTED, Cursor, PageSize, Words
from read_api.queries import ProductFilter
from read_api.schemas import ProductPage, ProductView, StockPage
from shared.chassis.http.auth import admin_only
from shared.chassis.http.problems import responses

Category = Annotated[str | None, QueryParameter(description="only this category")]


def router(parts: Parts) -> Router:
    """`/products` for everyone, `/inventory` for admins."""
    reads = parts.reads

    @get("/products", responses=PUBLIC | responses(429))
    async def list_products(
        request: Request[Any, Any, Any],
        words: Words = "",
        category: Category = None,
        cursor: Cursor = None,
        limit: PageSize = 50,
    ) -> ProductPage:
        """The catalogue with its stock, or what is found of it in names, descriptions, categories and ids."""
        count_search(parts.limits, request, words)
        wanted = ProductFilter(words=words, category=category)
        return await reads.run(
            partial(queries.list_products, wanted=wanted, cursor=cursor, limit=limit)
        )

    @get("/products/{product_id:str}", responses=PUBLIC_OR_NOTHING)
    async def show_product(product_id: FromPath[str]) -> ProductView:
        """One product with its stock."""
        return await reads.run(partial(queries.show_product, product_id=product_id))

    @get("/inventory", guards=[admin_only], responses=RESTRICTED)
    async def list_stock(cursor: Cursor = None, limit: PageSize = 50) -> StockPage:
        """The stock of every product, those not sold any more included."""
        return await reads.run(partial(queries.list_stock, cursor=cursor, limit=limit))

    return Router("/", route_handlers=[list_products, show_product, list_stock], tags=["catalogue"])
