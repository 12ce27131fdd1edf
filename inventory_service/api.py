"""The catalogue, its stock and the reservations over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from litestar import Response, Router, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from inventory_service import store
from inventory_service.domain import (
    ChangeStock,
    CreateProduct,
    DeleteProduct,
    Description,
    InventoryState,
    Product,
    Status,
    UpdateProduct,
)
from shared.chassis.http.auth import admin_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.messages.plain_text import LINE, TEXT, WEB_ADDRESS
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.contracts import LineItem, Money

PageSize = Annotated[int, QueryParameter(ge=1, le=200)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)]


class ProductDescription(RequestBody, frozen=True, kw_only=True):
    """What a product is; `price` in the currency's minor unit."""

    name: Name
    description: Annotated[str, Meta(max_length=4000, pattern=TEXT)] = ""
    price: Money
    category: Annotated[str, Meta(min_length=1, max_length=64, pattern=LINE)] | None = None
    image_url: Annotated[str, Meta(max_length=2000, pattern=WEB_ADDRESS)] | None = None


class NewProduct(ProductDescription, frozen=True, kw_only=True):
    """A product and its first stock; an id is made where none is given."""

    product_id: Id | None = None
    stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class StockChange(RequestBody, frozen=True, kw_only=True):
    """So many more; a negative quantity writes off, never below what orders hold."""

    quantity: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
    reason: Annotated[str, Meta(max_length=500, pattern=LINE)] | None = None


class ProductView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A product with its stock: available = onHand - reserved."""

    product_id: str
    name: str
    description: str
    price: int
    category: str | None
    image_url: str | None
    on_hand: int
    reserved: int
    available: int
    created_at: datetime
    updated_at: datetime


class ProductPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """By product id; `next_cursor` asks for the rest."""

    items: Sequence[ProductView]
    next_cursor: str | None


class ReservationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is, or was, held for an order."""

    order_id: str
    status: Status
    items: Sequence[LineItem]
    created_at: datetime
    updated_at: datetime


def view(product: Product) -> ProductView:
    """What is shown of a product."""
    shown = {
        name: getattr(product, name)
        for name in ProductView.__struct_fields__
        if name != "available"
    }
    return ProductView(**shown, available=product.on_hand - product.reserved)


def catalogue_router(service: Service) -> Router:
    """The products and their stock."""

    @post(
        "/",
        guards=[admin_only],
        responses={
            201: ResponseSpec(ProductView, description="In the catalogue"),
            **responses(400, 401, 403, 409, 413, 422, 503),
        },
    )
    async def create_product(
        request: ServiceRequest, data: JSONBody[NewProduct]
    ) -> Response[bytes]:
        """Put a product into the catalogue."""
        product_id = data.product_id or new_id()
        command = CreateProduct(
            product_id=product_id, description=_description(data), stock=data.stock
        )
        created = _shown(product_id, 201, location=f"/products/{product_id}")
        return await service.commands.execute(request, command, created)

    @put(
        "/{product_id:str}",
        guards=[admin_only],
        responses={200: ResponseSpec(ProductView), **responses(400, 401, 403, 404, 413, 422, 503)},
    )
    async def update_product(
        request: ServiceRequest,
        product_id: FromPath[str],
        data: JSONBody[ProductDescription],
    ) -> Response[bytes]:
        """Describe a product anew; what is left out of the body is cleared."""
        command = UpdateProduct(product_id=product_id, description=_description(data))
        return await service.commands.execute(request, command, _shown(product_id, 200))

    @delete(
        "/{product_id:str}",
        status_code=200,
        guards=[admin_only],
        responses={200: ResponseSpec(ProductView), **responses(400, 401, 403, 404, 409, 422, 503)},
    )
    async def delete_product(request: ServiceRequest, product_id: FromPath[str]) -> Response[bytes]:
        """Take it off sale; orders already placed are carried out, and still show it."""
        command = DeleteProduct(product_id=product_id)
        return await service.commands.execute(request, command, _shown(product_id, 200))

    @post(
        "/{product_id:str}/stock",
        status_code=200,
        guards=[admin_only],
        responses={
            200: ResponseSpec(ProductView),
            **responses(400, 401, 403, 404, 409, 413, 422, 503),
        },
    )
    async def change_stock(
        request: ServiceRequest, product_id: FromPath[str], data: JSONBody[StockChange]
    ) -> Response[bytes]:
        """Add to the stock, or write off."""
        command = ChangeStock(product_id=product_id, quantity=data.quantity, reason=data.reason)
        return await service.commands.execute(request, command, _shown(product_id, 200))

    @get("/", responses=responses(400))
    async def list_products(
        cursor: FromQuery[str | None] = None, limit: PageSize = 50
    ) -> ProductPage:
        """The catalogue with its stock."""
        found = await service.reads.run(partial(store.list_products, after=cursor, most=limit + 1))
        page = [view(product) for product in found[:limit]]
        return ProductPage(
            items=page, next_cursor=page[-1].product_id if len(found) > limit else None
        )

    @get("/{product_id:str}", responses=responses(404))
    async def show_product(product_id: FromPath[str]) -> ProductView:
        """One product with its stock."""
        product = await service.reads.run(partial(store.PRODUCT_TABLE.find, entity_id=product_id))
        if product is None or product.is_deleted:
            raise Rejected("unknown-product", f"there is no product {product_id}")
        return view(product)

    return Router(
        "/products",
        route_handlers=[
            create_product,
            update_product,
            delete_product,
            change_stock,
            list_products,
            show_product,
        ],
        tags=["catalogue"],
    )


def reservations_router(service: Service) -> Router:
    """What is held for whom."""

    @get("/{order_id:str}", guards=[admin_only], responses=responses(401, 403, 404))
    async def show_reservation(order_id: FromPath[str]) -> ReservationView:
        """The reservation of an order."""
        reservation = await service.reads.run(
            partial(store.RESERVATION_TABLE.find, entity_id=order_id)
        )
        if reservation is None:
            raise Rejected("unknown-order", f"nothing is known of order {order_id}")
        return msgspec.convert(reservation, ReservationView, from_attributes=True)

    return Router("/reservations", route_handlers=[show_reservation], tags=["reservations"])


def _description(given: ProductDescription) -> Description:
    return Description(**{name: getattr(given, name) for name in Description.__struct_fields__})


def _shown(
    product_id: str, status: int, location: str | None = None
) -> Callable[[InventoryState], Reply]:
    return lambda stock: json_reply(status, view(stock.products[product_id]), location=location)
