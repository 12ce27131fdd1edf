"""Signing up, in and out over HTTP."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, get, post, put
from litestar.exceptions import NotAuthorizedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta

from order_service.accounts import emails, store
from order_service.accounts.domain import Customer, RegisterCustomer, UpdateCustomer, email_taken
from order_service.accounts.password_rules import weakness
from order_service.accounts.service import Accounts, Tokens
from order_service.domain import OrderState
from order_service.request_fields import Email, canonical_email
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import json_reply, response_key, while_connected
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.plain_text import LINE_WITHOUT_LINK
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply, is_kept
from shared.contracts import Role

Password = Annotated[str, Meta(min_length=8, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE_WITHOUT_LINK)]
Token = Annotated[str, Meta(min_length=1, max_length=500)]
Locale = Literal["en", "ja"]


class NewCustomer(RequestBody, frozen=True, kw_only=True):
    """Who signs up."""

    email: Email
    password: Password
    name: Name | None = None
    locale: Locale | None = None


class CustomerChange(RequestBody, frozen=True, kw_only=True):
    """What is to be known of oneself; what is left out stays."""

    email: Email | None = None
    name: Name | None = None
    locale: Locale | None = None


class SignIn(RequestBody, frozen=True, kw_only=True):
    """E-mail address and password."""

    email: Annotated[str, Meta(max_length=254)]
    password: Annotated[str, Meta(max_length=256)]


class Refresh(RequestBody, frozen=True, kw_only=True):
    """The refresh token of the last answer; it is good once."""

    refresh_token: Token


class PasswordChange(RequestBody, frozen=True, kw_only=True):
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
        responses={201: ResponseSpec(CustomerView), **responses(400, 409, 413, 422, 429, 503)},
    )
    async def register(request: ServiceRequest, data: JSONBody[NewCustomer]) -> Response[bytes]:
        """Sign up; sign in afterwards."""
        user_id, email = new_id(), canonical_email(data.email)
        _refuse_weak("password", data.password, email)
        service.limits.take((Limit.REGISTRATIONS_PER_ADDRESS, client_address(request)))
        await _refuse_taken(request, service, accounts, email)
        also = await while_connected(request, accounts.with_password(user_id, data.password))
        return await service.commands.execute(
            request,
            RegisterCustomer(user_id=user_id, email=email, name=data.name, locale=data.locale),
            _shown(user_id, 201),
            extra_writes=also,
            fingerprint_source=await _stands_for(request, accounts, data),
        )

    @post(
        "/login",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses(400, 401, 413, 429, 503),
    )
    async def sign_in(request: ServiceRequest, data: JSONBody[SignIn]) -> Tokens:
        """Get an access token for a quarter of an hour, and a refresh token for the next."""
        address = client_address(request)
        signing_in = accounts.sign_in(_account(data.email), data.password, address)
        return await while_connected(request, signing_in)

    @post(
        "/refresh",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses(400, 401, 413, 429, 503),
    )
    async def refresh(request: ServiceRequest, data: JSONBody[Refresh]) -> Tokens:
        """Exchange a refresh token for the next pair. It answers the same pair again for 20 s, then reuse ends the session."""
        return await accounts.refresh(data.refresh_token, client_address(request))

    @post(
        "/logout",
        status_code=204,
        opt=WITHOUT_KEY,
        responses=responses(400, 413, 429, 503),
    )
    async def sign_out(request: ServiceRequest, data: JSONBody[Refresh]) -> None:
        """End this session; the access token expires by itself."""
        await accounts.sign_out(data.refresh_token, client_address(request))

    @get("/me", guards=[signed_in_only], responses=responses(401))
    async def show_me(request: ServiceRequest) -> CustomerView:
        """The signed-in customer."""
        user_id = request.customer_id
        customer = await service.reads.run(partial(store.find, user_id=user_id))
        if customer is None:
            raise NotAuthorizedException(
                "there is no such account: sign in again", headers={"WWW-Authenticate": "Bearer"}
            )
        return view(customer)

    @put(
        "/me",
        guards=[signed_in_only],
        responses={200: ResponseSpec(CustomerView), **responses(400, 401, 409, 413, 429, 503)},
    )
    async def change_me(request: ServiceRequest, data: JSONBody[CustomerChange]) -> Response[bytes]:
        """Change address, name or language."""
        user_id = request.customer_id
        service.limits.take((Limit.CHANGES_PER_CUSTOMER, user_id))
        command = UpdateCustomer(
            user_id=user_id,
            email=canonical_email(data.email) if data.email else None,
            name=data.name,
            locale=data.locale,
        )
        return await service.commands.execute(request, command, _shown(user_id, 200))

    @put(
        "/password",
        status_code=204,
        guards=[signed_in_only],
        responses=responses(400, 401, 403, 413, 429, 503),
    )
    async def change_password(request: ServiceRequest, data: JSONBody[PasswordChange]) -> None:
        """Set a new password; every sign-in ends with it."""
        change = accounts.change_password(
            request.customer_id,
            data.current_password,
            data.new_password,
            client_address(request),
        )
        await while_connected(request, change)

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


async def _stands_for(
    request: ServiceRequest, accounts: Accounts, data: NewCustomer
) -> bytes | None:
    """What an `Idempotency-Key` was used for, from which nobody can guess the password."""
    if "idempotency-key" not in request.headers:
        return None
    fingerprint = await while_connected(
        request, accounts.passwords.fingerprint(data.password, salt=data.email.lower())
    )
    return msgspec.json.encode(msgspec.structs.replace(data, password=fingerprint))


async def _refuse_taken(
    request: ServiceRequest, service: Service, accounts: Accounts, email: str
) -> None:
    """A taken address costs no hash, unless the answer may be kept under the request's key."""
    if await accounts.is_taken(email):
        name = response_key(request)
        if name is None or not await service.reads.run(partial(is_kept, name=name)):
            raise email_taken(email)


def _refuse_weak(field: str, password: str, email: str) -> None:
    if wrong := weakness(password, email):
        raise BadRequest(FieldError(field=field, message=wrong))


def _account(email: str) -> str:
    """What is looked up at a sign-in; an address that cannot be one belongs to nobody."""
    try:
        return emails.canonical(email)
    except ValueError:
        return email.lower()


def _shown(user_id: str, status: int) -> Callable[[OrderState], Reply]:
    return lambda desk: json_reply(status, view(desk.customers[user_id]))
