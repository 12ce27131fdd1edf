"""Signing up, in and out over HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta

from order_service.accounts import Accounts, Tokens
from order_service.api.fields import Email
from order_service.domain import Desk
from order_service.domain.customers import Customer, RegisterCustomer, UpdateCustomer
from order_service.store import customers
from shared.auth import signed_in_only
from shared.client_address import client_address
from shared.clock import new_id
from shared.contracts import Role
from shared.idempotency import Reply
from shared.openapi import WITHOUT_KEY
from shared.problem import responses
from shared.service import Service
from shared.web import Body, reply

Password = Annotated[str, Meta(min_length=8, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Token = Annotated[str, Meta(min_length=1, max_length=500)]
Locale = Literal["en", "ja"]


class NewCustomer(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Who signs up."""

    email: Email
    password: Password
    name: Name | None = None
    locale: Locale | None = None


class CustomerChange(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What is to be known of oneself; what is left out stays."""

    email: Email | None = None
    name: Name | None = None
    locale: Locale | None = None


class SignIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """E-mail address and password."""

    email: Annotated[str, Meta(max_length=254)]
    password: Annotated[str, Meta(max_length=256)]


class Refresh(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The refresh token of the last answer; it is good once."""

    refresh_token: Token


class PasswordChange(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The old proof and the new."""

    current_password: Annotated[str, Meta(max_length=256)]
    new_password: Password


class CustomerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A customer as he sees himself."""

    user_id: str
    email: str
    name: str | None
    locale: str | None
    role: Role
    created_at: datetime
    updated_at: datetime


def view(customer: Customer) -> CustomerView:
    """What is shown of a customer."""
    return msgspec.convert(customer, CustomerView, from_attributes=True)


def router(service: Service, accounts: Accounts) -> Router:
    """The routes under `/auth`."""

    @post(
        "/register",
        dto=Body[NewCustomer],
        responses={201: ResponseSpec(CustomerView), **responses(400, 409, 413, 422, 503)},
    )
    async def register(
        request: Request[Any, Any, Any], data: JSONBody[NewCustomer]
    ) -> Response[bytes]:
        """Sign up; sign in afterwards."""
        user_id = new_id()
        command = RegisterCustomer(
            user_id=user_id, email=data.email.lower(), name=data.name, locale=data.locale
        )
        return await service.commands.carry_out(
            request,
            command,
            _shown(user_id, 201),
            also=await accounts.with_password(user_id, data.password),
            stands_for=await stands_for(request, data),
        )

    @post(
        "/login",
        dto=Body[SignIn],
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses(400, 401, 413, 429, 503),
    )
    async def sign_in(request: Request[Any, Any, Any], data: JSONBody[SignIn]) -> Tokens:
        """Get an access token for a quarter of an hour, and a refresh token for the next."""
        address = client_address(request)
        return await accounts.sign_in(data.email.lower(), data.password, address)

    @post(
        "/refresh",
        dto=Body[Refresh],
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses(400, 401, 413, 503),
    )
    async def refresh(data: JSONBody[Refresh]) -> Tokens:
        """Trade a refresh token for the next pair; using one twice ends all that came of its sign-in."""
        return await accounts.refresh(data.refresh_token)

    @post(
        "/logout",
        dto=Body[Refresh],
        status_code=204,
        opt=WITHOUT_KEY,
        responses=responses(400, 413, 503),
    )
    async def sign_out(data: JSONBody[Refresh]) -> None:
        """End this sign-in; the access token runs out by itself."""
        await accounts.sign_out(data.refresh_token)

    @get("/me", guards=[signed_in_only], responses=responses(401))
    async def show_me(request: Request[Any, Any, Any]) -> CustomerView:
        """The signed-in customer."""
        user_id = request.user.user_id
        found = await service.reads.run(lambda connection: customers.load(connection, [user_id]))
        return view(found[user_id])

    @put(
        "/me",
        dto=Body[CustomerChange],
        guards=[signed_in_only],
        responses={200: ResponseSpec(CustomerView), **responses(400, 401, 409, 413, 503)},
    )
    async def change_me(
        request: Request[Any, Any, Any], data: JSONBody[CustomerChange]
    ) -> Response[bytes]:
        """Change address, name or language."""
        user_id = request.user.user_id
        command = UpdateCustomer(
            user_id=user_id,
            email=data.email.lower() if data.email else None,
            name=data.name,
            locale=data.locale,
        )
        return await service.commands.carry_out(request, command, _shown(user_id, 200))

    @put(
        "/password",
        dto=Body[PasswordChange],
        status_code=204,
        guards=[signed_in_only],
        responses=responses(400, 401, 403, 413, 429, 503),
    )
    async def change_password(
        request: Request[Any, Any, Any], data: JSONBody[PasswordChange]
    ) -> None:
        """Set a new password; every sign-in ends with it."""
        await accounts.change_password(
            request.user.user_id, data.current_password, data.new_password
        )

    async def stands_for(request: Request[Any, Any, Any], data: NewCustomer) -> bytes | None:
        """What an `Idempotency-Key` was used for, from which nobody can guess the password."""
        if "idempotency-key" not in request.headers:
            return None
        veiled = await accounts.veil(data.password, salt=data.email.lower())
        return msgspec.json.encode(msgspec.structs.replace(data, password=veiled))

    return Router(
        "/auth",
        route_handlers=[
            register,
            sign_in,
            refresh,
            sign_out,
            show_me,
            change_me,
            change_password,
        ],
        tags=["accounts"],
    )


def _shown(user_id: str, status: int) -> Callable[[Desk], Reply]:
    return lambda desk: reply(status, view(desk.customers[user_id]))
