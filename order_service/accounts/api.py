"""Accounts and sessions over HTTP."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Controller, Response, get, post, put
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta
from sqlalchemy import bindparam, select

from order_service.accounts import emails, sessions, store
from order_service.accounts.domain import (
    ChangeEmail,
    Customer,
    RegisterCustomer,
    UpdateCustomer,
    email_taken,
)
from order_service.accounts.mailed_links import new_verification
from order_service.accounts.password_rules import weakness
from order_service.accounts.service import Accounts, Tokens
from order_service.accounts.store import CUSTOMERS
from order_service.domain import Command, OrderState
from order_service.request_fields import Email, NewPassword, canonical_email
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import json_reply, response_key, while_connected
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.rate_limits import Limit
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.messages.clock import new_id
from shared.chassis.messages.plain_text import LINE_WITHOUT_LINK
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.database import Database
from shared.chassis.storage.idempotency import Reply, has_response
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import view_as_json
from shared.contracts import Role

Orders = NamedDependency[Service[OrderState, Command]]
FromAccounts = NamedDependency[Accounts]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE_WITHOUT_LINK)]
Token = Annotated[str, Meta(min_length=1, max_length=500)]
Locale = Literal["en", "ja"]


class NewCustomer(RequestBody, frozen=True, kw_only=True):
    """A registration."""

    email: Email
    password: NewPassword
    name: Name | None = None
    locale: Locale | None = None


class CustomerChange(RequestBody, frozen=True, kw_only=True):
    """The signed-in customer's new data; what is left out stays."""

    email: Email | None = None
    current_password: Annotated[str, Meta(max_length=256)] | None = None
    """Only to change the address."""
    name: Name | None = None
    locale: Locale | None = None


class SignIn(RequestBody, frozen=True, kw_only=True):
    """E-mail address and password."""

    email: Annotated[str, Meta(max_length=254)]
    password: Annotated[str, Meta(max_length=256)]


class Refresh(RequestBody, frozen=True, kw_only=True):
    """The refresh token of the last response; it is valid once."""

    refresh_token: Token


class PasswordChange(RequestBody, frozen=True, kw_only=True):
    """The current password and the new one."""

    current_password: Annotated[str, Meta(max_length=256)]
    new_password: NewPassword


class CustomerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A customer as they see themselves."""

    user_id: str
    email: str
    email_verified: bool
    name: str | None
    locale: str | None
    role: Role
    created_at: datetime
    updated_at: datetime


_CUSTOMER = select(view_as_json(CustomerView, CUSTOMERS)).where(
    CUSTOMERS.c.user_id == bindparam("user_id")
)


def customer_view(customer: Customer) -> CustomerView:
    """A customer as they see themselves."""
    return msgspec.convert(customer, CustomerView, from_attributes=True)


class AccountController(Controller):
    """Registration, sessions, and the signed-in customer's account."""

    path = "/auth"
    tags = ("accounts",)

    @post(
        "/register",
        responses={
            201: ResponseSpec(CustomerView),
            **responses("email-taken", "too-many-requests"),
        },
    )
    async def register(
        self,
        request: ServiceRequest,
        data: JSONBody[NewCustomer],
        service: Orders,
        accounts: FromAccounts,
    ) -> Response[bytes]:
        """Sign up; sign in afterwards."""
        user_id, email = new_id(), canonical_email(data.email)
        _reject_weak_password(data.password, email)
        service.limits.take(
            (Limit.REGISTRATIONS_PER_ADDRESS, client_address(request)),
            (Limit.REGISTRATIONS_PER_RECIPIENT, emails.mailbox(email)),
        )
        await _reject_taken_email(request, service.reads, accounts, email)
        with_password = accounts.with_password(user_id, data.password)
        return await service.commands.execute(
            request,
            RegisterCustomer(
                user_id=user_id,
                email=email,
                name=data.name,
                locale=data.locale,
                verification=new_verification(),
            ),
            customer_reply(user_id, 201),
            extra_writes=await while_connected(request, with_password),
            fingerprint_source=await _fingerprint_source(request, accounts, data),
        )

    @post(
        "/login",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses("bad-credentials", "too-many-attempts", "too-many-requests"),
    )
    async def sign_in(
        self, request: ServiceRequest, data: JSONBody[SignIn], accounts: FromAccounts
    ) -> Tokens:
        """Get an access token for a quarter of an hour, and a refresh token for the next."""
        email, address = _account_name(data.email), client_address(request)
        return await while_connected(request, accounts.sign_in(email, data.password, address))

    @post(
        "/refresh",
        status_code=200,
        opt=WITHOUT_KEY,
        responses=responses("bad-refresh-token", "too-many-requests"),
    )
    async def refresh(
        self, request: ServiceRequest, data: JSONBody[Refresh], accounts: FromAccounts
    ) -> Tokens:
        """Exchange a refresh token for a new pair. A repetition within 20 s returns the same pair; a later one ends the session."""
        return await accounts.refresh(data.refresh_token, client_address(request))

    @post(
        "/logout",
        status_code=204,
        opt=WITHOUT_KEY,
        responses=responses("too-many-requests"),
    )
    async def sign_out(
        self, request: ServiceRequest, data: JSONBody[Refresh], accounts: FromAccounts
    ) -> None:
        """End this session; its access token stays valid until it expires."""
        await accounts.sign_out(data.refresh_token, client_address(request))

    @get("/me", guards=[signed_in_only])
    async def show_me(
        self, request: ServiceRequest, reader: NamedDependency[Reader]
    ) -> CustomerView:
        """The signed-in customer."""
        customer = await reader.find_view(CustomerView, _CUSTOMER, user_id=request.customer_id)
        if customer is None:
            raise NotAuthorizedException(
                "there is no such account: sign in again", headers={"WWW-Authenticate": "Bearer"}
            )
        return customer

    @put(
        "/me",
        guards=[signed_in_only],
        responses={
            200: ResponseSpec(CustomerView),
            **responses(
                *("email-taken", "too-many-attempts", "too-many-requests"),
                *("unknown-customer", "wrong-password"),
            ),
        },
    )
    async def change_me(
        self,
        request: ServiceRequest,
        data: JSONBody[CustomerChange],
        service: Orders,
        accounts: FromAccounts,
    ) -> Response[bytes]:
        """Change name, language or address. Another address needs the password, and ends every session."""
        user_id = request.customer_id
        service.limits.take((Limit.CHANGES_PER_CUSTOMER, user_id))
        if data.email and await _is_other_address(service, user_id, data.email):
            return await _change_email(request, data, service, accounts)
        command = UpdateCustomer(user_id=user_id, name=data.name, locale=data.locale)
        return await service.commands.execute(
            request,
            command,
            customer_reply(user_id, 200),
            fingerprint_source=_without_password(data),
        )

    @put(
        "/password",
        status_code=204,
        guards=[signed_in_only],
        responses=responses("too-many-attempts", "wrong-password"),
    )
    async def change_password(
        self, request: ServiceRequest, data: JSONBody[PasswordChange], accounts: FromAccounts
    ) -> None:
        """Set a new password, and end every session."""
        change = accounts.change_password(
            request.user,
            data.current_password,
            data.new_password,
            client_address(request),
        )
        await while_connected(request, change)


async def _is_other_address(
    service: Service[OrderState, Command], user_id: str, email: str
) -> bool:
    customer = await service.reads.run(partial(store.find, user_id=user_id))
    return customer is None or customer.email != canonical_email(email)


async def _change_email(
    request: ServiceRequest,
    data: CustomerChange,
    service: Service[OrderState, Command],
    accounts: Accounts,
) -> Response[bytes]:
    if data.email is None or data.current_password is None:
        raise Rejected("wrong-password", "another address needs `currentPassword`")
    check = accounts.with_right_password(
        request.user, data.current_password, client_address(request)
    )
    customer = await while_connected(request, check)
    command = ChangeEmail(
        user_id=customer.user_id,
        token_version=customer.token_version,
        email=canonical_email(data.email),
        name=data.name,
        locale=data.locale,
        verification=new_verification(),
    )
    return await service.commands.execute(
        request,
        command,
        customer_reply(customer.user_id, 200),
        extra_writes=partial(sessions.end_all_of, user_id=customer.user_id),
        fingerprint_source=_without_password(data),
    )


def _without_password(data: CustomerChange) -> bytes:
    """What an idempotency key was used for: a digest of the password could be guessed from."""
    return msgspec.json.encode(msgspec.structs.replace(data, current_password=None))


async def _fingerprint_source(
    request: ServiceRequest, accounts: Accounts, data: NewCustomer
) -> bytes | None:
    """What an idempotency key was used for, in a form that nobody can guess the password from."""
    if "idempotency-key" not in request.headers:
        return None
    fingerprint = await while_connected(
        request, accounts.passwords.fingerprint(data.password, salt=data.email.lower())
    )
    return msgspec.json.encode(msgspec.structs.replace(data, password=fingerprint))


async def _reject_taken_email(
    request: ServiceRequest, reads: Database, accounts: Accounts, email: str
) -> None:
    """Before the password is hashed, which is slow, unless a response is stored under the request's key."""
    if await accounts.is_taken(email):
        name = response_key(request)
        if name is None or not await reads.run(partial(has_response, name=name)):
            raise email_taken(email)


def _reject_weak_password(password: str, email: str) -> None:
    if reason := weakness(password, email):
        raise BadRequest(FieldError(field="password", message=reason))


def _account_name(email: str) -> str:
    """The key that an account is looked up by; an address that is not valid belongs to no account."""
    try:
        return emails.canonical(email)
    except ValueError:
        return email.lower()


def customer_reply(user_id: str, status: int) -> Callable[[OrderState], Reply]:
    """Responds with the customer as they are right after the command."""
    return lambda state: json_reply(status, customer_view(state.customers[user_id]))
