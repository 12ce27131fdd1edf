"""The catalogue, its stock and the reservations over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta
from sqlalchemy import bindparam, select

from inventory_service.domain import (
    ChangeStock,
    Command,
    CreateProduct,
    DeleteProduct,
    Description,
    InventoryState,
    Product,
    ReservationStatus,
    RestoreProduct,
    UpdateProduct,
)
from inventory_service.store import PRODUCTS, RESERVATION_ITEMS, RESERVATIONS
from shared.chassis.http.auth import admin_only, operators_only
from shared.chassis.http.command_bus import CommandBus, json_reply
from shared.chassis.http.entity_tags import HAS_TAG, IfMatch, entity_tag, tagged, unchanged
from shared.chassis.http.pagination import Page, PageSize, page_of, schema_name
from shared.chassis.http.problems import responses
from shared.chassis.http.representation import PUBLIC_DATA
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.event import Id
from shared.chassis.messages.plain_text import LINE, TEXT, WEB_ADDRESS
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import all_as_json, view_as_json
from shared.contracts import LineItem, Money

Commands = NamedDependency[CommandBus[InventoryState, Command]]
FromReader = NamedDependency[Reader]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)]


class ProductDescription(RequestBody, frozen=True, kw_only=True):
    """What a product is; `price` in the currency's minor unit."""

    name: Name
    description: Annotated[str, Meta(max_length=4000, pattern=TEXT)] = ""
    price: Money
    category: Annotated[str, Meta(min_length=1, max_length=64, pattern=LINE)] | None = None
    image_url: Annotated[str, Meta(max_length=2000, pattern=WEB_ADDRESS)] | None = None


class NewProduct(ProductDescription, frozen=True, kw_only=True):
    """A product and its first stock; without an id it gets one."""

    product_id: Id | None = None
    stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class StockChange(RequestBody, frozen=True, kw_only=True):
    """A quantity to add; a negative one writes off, never below what is reserved."""

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


class ReservationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is, or was, reserved for an order."""

    order_id: str
    status: ReservationStatus
    items: Sequence[LineItem]
    created_at: datetime
    updated_at: datetime


ProductPage = Annotated[Page[ProductView], schema_name("ProductPage")]

_PRODUCTS = select(
    view_as_json(ProductView, PRODUCTS, available=PRODUCTS.c.on_hand - PRODUCTS.c.reserved)
).where(PRODUCTS.c.is_deleted.is_(False))
_PRODUCT = _PRODUCTS.where(PRODUCTS.c.product_id == bindparam("product_id"))
_PRODUCT_PAGE = _PRODUCTS.order_by(PRODUCTS.c.product_id).limit(bindparam("limit"))
_RESERVATION = select(
    view_as_json(
        ReservationView,
        RESERVATIONS,
        items=all_as_json(
            LineItem,
            RESERVATION_ITEMS,
            RESERVATION_ITEMS.c.order_id == RESERVATIONS.c.order_id,
            RESERVATION_ITEMS.c.line,
        ),
    )
).where(RESERVATIONS.c.order_id == bindparam("order_id"))


def product_view(product: Product) -> ProductView:
    """A product as the API shows it."""
    fields = {
        name: getattr(product, name)
        for name in ProductView.__struct_fields__
        if name != "available"
    }
    return ProductView(**fields, available=product.on_hand - product.reserved)


class CatalogueController(Controller):
    """The products and their stock."""

    path = "/products"
    tags = ("catalogue",)

    @post(
        "/",
        guards=[admin_only],
        opt=HAS_TAG,
        responses={
            201: ResponseSpec(ProductView, description="In the catalogue"),
            **responses("product-exists"),
        },
    )
    async def create_product(
        self, request: ServiceRequest, data: JSONBody[NewProduct], commands: Commands
    ) -> Response[bytes]:
        """Put a product into the catalogue."""
        product_id = data.product_id or new_id()
        command = CreateProduct(
            product_id=product_id, description=description_of(data), stock=data.stock
        )
        respond = _product_reply(product_id, 201, location=f"/products/{product_id}")
        return await commands.execute(request, command, respond)

    @put(
        "/{product_id:str}",
        guards=[admin_only],
        opt=HAS_TAG,
        responses={
            200: ResponseSpec(ProductView),
            **responses("unknown-product", "precondition-failed"),
        },
    )
    async def update_product(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        data: JSONBody[ProductDescription],
        commands: Commands,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        """Replace a product's description; what is left out of the body is cleared."""
        command = UpdateProduct(product_id=product_id, description=description_of(data))
        precondition = unchanged(if_match, _edited_in(product_id))
        reply = _product_reply(product_id)
        return await commands.execute(request, command, reply, precondition=precondition)

    @delete(
        "/{product_id:str}",
        status_code=200,
        guards=[admin_only],
        opt=HAS_TAG,
        responses={
            200: ResponseSpec(ProductView),
            **responses("unknown-product", "precondition-failed"),
        },
    )
    async def delete_product(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        commands: Commands,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        """Take it off sale. Orders that contain it are fulfilled, and still show it."""
        command = DeleteProduct(product_id=product_id)
        precondition = unchanged(if_match, _edited_in(product_id))
        reply = _product_reply(product_id)
        return await commands.execute(request, command, reply, precondition=precondition)

    @post(
        "/{product_id:str}/restore",
        status_code=200,
        guards=[admin_only],
        opt=HAS_TAG,
        responses={
            200: ResponseSpec(ProductView),
            **responses("unknown-product", "precondition-failed"),
        },
    )
    async def restore_product(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        commands: Commands,
        if_match: IfMatch = None,
    ) -> Response[bytes]:
        """Put a deleted product on sale again, with its description and stock. One that is on sale stays as it is."""
        command = RestoreProduct(product_id=product_id)
        precondition = unchanged(if_match, _edited_in(product_id))
        reply = _product_reply(product_id)
        return await commands.execute(request, command, reply, precondition=precondition)

    @post(
        "/{product_id:str}/stock",
        status_code=200,
        guards=[admin_only],
        opt=HAS_TAG,
        responses={
            200: ResponseSpec(ProductView),
            **responses("nothing-to-change", "stock-reserved", "unknown-product"),
        },
    )
    async def change_stock(
        self,
        request: ServiceRequest,
        product_id: FromPath[str],
        data: JSONBody[StockChange],
        commands: Commands,
    ) -> Response[bytes]:
        """Add to the stock, or write off."""
        command = ChangeStock(product_id=product_id, quantity=data.quantity, reason=data.reason)
        return await commands.execute(request, command, _product_reply(product_id))

    @get("/", cache_control=PUBLIC_DATA)
    async def list_products(
        self, reader: FromReader, cursor: FromQuery[str | None] = None, limit: PageSize = 50
    ) -> ProductPage:
        """The catalogue with its stock, by product id."""
        query = _PRODUCT_PAGE.where(PRODUCTS.c.product_id > cursor) if cursor else _PRODUCT_PAGE
        products = await reader.fetch_views(ProductView, query, limit=limit + 1)
        return page_of(products, limit, lambda product: product, lambda product: product.product_id)

    @get(
        "/{product_id:str}",
        cache_control=PUBLIC_DATA,
        opt=HAS_TAG,
        responses=responses("unknown-product"),
    )
    async def show_product(
        self, product_id: FromPath[str], reader: FromReader
    ) -> Response[ProductView]:
        """One product with its stock."""
        product = await reader.find_view(ProductView, _PRODUCT, product_id=product_id)
        if product is None:
            raise Rejected("unknown-product", f"there is no product {product_id}")
        return tagged(product, _edited(product))


@get(
    "/reservations/{order_id:str}",
    guards=[operators_only],
    responses=responses("unknown-order"),
    tags=["reservations"],
)
async def show_reservation(order_id: FromPath[str], reader: FromReader) -> ReservationView:
    """The reservation of an order."""
    reservation = await reader.find_view(ReservationView, _RESERVATION, order_id=order_id)
    if reservation is None:
        raise Rejected("unknown-order", f"there is no reservation of order {order_id}")
    return reservation


def description_of(body: ProductDescription) -> Description:
    """The fields that the rules and events know."""
    return Description(**{name: getattr(body, name) for name in Description.__struct_fields__})


def _product_reply(
    product_id: str, status: int = 200, location: str | None = None
) -> Callable[[InventoryState], Reply]:
    """Responds with the product as it is right after the command."""

    def respond(state: InventoryState) -> Reply:
        product = state.products[product_id]
        view = product_view(product)
        etag = entity_tag(view, _edited(product))
        return json_reply(status, view, location=location, etag=etag)

    return respond


def _edited(product: Product | ProductView) -> object:
    """What administrators edit of it; only a product of the state can be a deleted one."""
    is_deleted = isinstance(product, Product) and product.is_deleted
    return is_deleted, *(getattr(product, name) for name in Description.__struct_fields__)


def _edited_in(product_id: str) -> Callable[[InventoryState], object | None]:
    def edited(state: InventoryState) -> object | None:
        product = state.products.get(product_id)
        return None if product is None else _edited(product)

    return edited


ROUTES = (CatalogueController, show_reservation)
