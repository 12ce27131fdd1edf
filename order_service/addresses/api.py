"""The signed-in customer's address book over HTTP."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from sqlalchemy import bindparam, select

from order_service.addresses.domain import (
    AddressBook,
    RemoveAddress,
    SaveAddress,
    addresses_of,
    unknown_address,
)
from order_service.addresses.store import ADDRESS_BOOKS
from order_service.domain import OrderState
from order_service.orders.api import FromOrderApi, OrderApi
from order_service.request_fields import AddressName, NewAddress, contract_address
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import field_error, responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import view_as_json
from shared.contracts import Address


class NewBookAddress(RequestBody, frozen=True, kw_only=True):
    """An address, and its name in the address book, such as `home`."""

    name: AddressName
    address: NewAddress


class BookAddressView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An address of the address book; an order may name it as `addressName`."""

    name: str
    address: Address


class AddressBookView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The addresses, in the order they were added."""

    items: Sequence[BookAddressView]


_ADDRESS_BOOK = select(view_as_json(AddressBook, ADDRESS_BOOKS)).where(
    ADDRESS_BOOKS.c.user_id == bindparam("user_id")
)


class AddressController(Controller):
    """The signed-in customer's address book."""

    path = "/me/addresses"
    guards = (signed_in_only,)
    tags = ("addresses",)

    @get("/")
    async def list_addresses(
        self, request: ServiceRequest, order_api: FromOrderApi
    ) -> AddressBookView:
        """List your addresses."""
        return _view(await _read(order_api.reader, request.customer_id))

    @get("/{address_name:str}", responses=responses("unknown-address"))
    async def show_address(
        self, request: ServiceRequest, address_name: FromPath[str], order_api: FromOrderApi
    ) -> BookAddressView:
        """Show one of your addresses."""
        addresses = await _read(order_api.reader, request.customer_id)
        if address_name not in addresses:
            raise unknown_address(address_name)
        return BookAddressView(name=address_name, address=addresses[address_name])

    @post(
        "/",
        responses={
            201: ResponseSpec(BookAddressView, description="Added"),
            **responses("address-book-full", "address-exists", "too-many-requests"),
        },
    )
    async def add_address(
        self, request: ServiceRequest, data: JSONBody[NewBookAddress], order_api: FromOrderApi
    ) -> Response[bytes]:
        """Add an address under a new name."""
        command = _saved(request, data.name, data.address, must_be_new=True)
        return await _save(order_api, request, command, 201)

    @put(
        "/{address_name:str}",
        responses={
            200: ResponseSpec(BookAddressView, description="Added or replaced"),
            **responses("address-book-full", "too-many-requests", "unknown-address"),
        },
    )
    async def save_address(
        self,
        request: ServiceRequest,
        address_name: FromPath[str],
        data: JSONBody[NewAddress],
        order_api: FromOrderApi,
    ) -> Response[bytes]:
        """Add an address, or replace the one of this name."""
        return await _save(order_api, request, _saved(request, _checked(address_name), data), 200)

    @delete(
        "/{address_name:str}",
        status_code=200,
        responses={
            200: ResponseSpec(AddressBookView, description="Removed; these are left"),
            **responses("unknown-address", "too-many-requests"),
        },
    )
    async def remove_address(
        self, request: ServiceRequest, address_name: FromPath[str], order_api: FromOrderApi
    ) -> Response[bytes]:
        """Remove an address. Orders that were placed with it keep it."""
        user_id = request.customer_id
        order_api.limits.take((Limit.CHANGES_PER_CUSTOMER, user_id))
        command = RemoveAddress(user_id=user_id, name=address_name)

        def respond(state: OrderState) -> Reply:
            return json_reply(200, _view(addresses_of(state.address_books, user_id)))

        return await order_api.commands.execute(request, command, respond)


def _checked(name: str) -> str:
    """A name in a path, whose pattern the document cannot state. Raises Rejected: there can be no such address."""
    try:
        return msgspec.convert(name, AddressName)
    except msgspec.ValidationError as error:
        detail = f"the name of an address: {field_error(error).message}"
        raise Rejected("unknown-address", detail) from error


def _saved(
    request: ServiceRequest, name: str, address: NewAddress, *, must_be_new: bool = False
) -> SaveAddress:
    return SaveAddress(
        user_id=request.customer_id,
        name=name,
        address=contract_address(address),
        must_be_new=must_be_new,
    )


async def _save(
    order_api: OrderApi, request: ServiceRequest, command: SaveAddress, status: int
) -> Response[bytes]:
    order_api.limits.take((Limit.CHANGES_PER_CUSTOMER, command.user_id))
    view = BookAddressView(name=command.name, address=command.address)
    location = f"/me/addresses/{quote(command.name)}" if command.must_be_new else None
    reply = json_reply(status, view, location=location)
    return await order_api.commands.execute(request, command, lambda _: reply)


async def _read(reader: Reader, user_id: str) -> Mapping[str, Address]:
    book = await reader.find_view(AddressBook, _ADDRESS_BOOK, user_id=user_id)
    return book.addresses if book else {}


def _view(addresses: Mapping[str, Address]) -> AddressBookView:
    return AddressBookView(
        items=[BookAddressView(name=name, address=address) for name, address in addresses.items()]
    )
