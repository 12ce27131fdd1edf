"""Customers: one for each e-mail address. Passwords are no part of the rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import TokensRevoked
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.touches import id_of
from shared.contracts import CustomerId, CustomerRegistered, CustomerUpdated, Role

EmailKey = Annotated[str, id_of("email")]
"""An address in its canonical form (see `emails`)."""


class Customer(Struct, frozen=True, kw_only=True):
    """A registered customer; `email` is in its canonical form (see `emails`)."""

    user_id: str
    email: str
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"
    token_version: int = 0
    """Access tokens of a lower version are revoked."""
    created_at: datetime
    updated_at: datetime


Customers = Mapping[str, Customer]
"""By user id."""


class RegisterCustomer(Struct, frozen=True, kw_only=True):
    user_id: CustomerId
    email: EmailKey
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"


class UpdateCustomer(Struct, frozen=True, kw_only=True):
    """Change a customer's data; None leaves a value unchanged."""

    user_id: CustomerId
    email: EmailKey | None = None
    name: str | None = None
    locale: str | None = None


class ChangePassword(Struct, frozen=True, kw_only=True):
    """End everything that was started with the old password, if that was valid at this version."""

    user_id: CustomerId
    token_version: int


Command = RegisterCustomer | UpdateCustomer | ChangePassword


def decide(customers: Customers, command: Command) -> list[Event]:
    """The events that the command leads to.

    Raises Rejected: `email-taken`, `unknown-customer`, `wrong-password`.
    """
    match command:
        case RegisterCustomer(user_id=user_id):
            _reject_taken(customers, user_id, command.email)
            return [] if user_id in customers else [_registered(command)]
        case UpdateCustomer(user_id=user_id):
            _reject_taken(customers, user_id, command.email)
            return _updated(_existing(customers, user_id), command)
        case ChangePassword(user_id=user_id, token_version=version):
            customer = _existing(customers, user_id)
            if customer.token_version != version:
                raise wrong_password()
            return [_tokens_revoked(customer)]


def _reject_taken(customers: Customers, user_id: str, email: str | None) -> None:
    others = (customer for customer in customers.values() if customer.user_id != user_id)
    if email and any(other.email == email for other in others):
        raise email_taken(email)


def _existing(customers: Customers, user_id: str) -> Customer:
    try:
        return customers[user_id]
    except KeyError:
        raise Rejected("unknown-customer", "there is no such customer") from None


def email_taken(email: str) -> Rejected:
    """Another customer has this address."""
    return Rejected("email-taken", f"{email} is registered already")


def wrong_password() -> Rejected:
    return Rejected("wrong-password", "the current password is wrong")


def _tokens_revoked(customer: Customer) -> TokensRevoked:
    return TokensRevoked(user_id=customer.user_id, token_version=customer.token_version + 1)


def _registered(command: RegisterCustomer) -> CustomerRegistered:
    return CustomerRegistered(
        user_id=command.user_id,
        email=command.email,
        name=command.name,
        locale=command.locale,
        role=command.role,
    )


def _updated(customer: Customer, command: UpdateCustomer) -> list[Event]:
    updated = CustomerUpdated(
        user_id=customer.user_id,
        email=command.email or customer.email,
        name=command.name or customer.name,
        locale=command.locale or customer.locale,
    )
    same = (updated.email, updated.name, updated.locale) == (
        customer.email,
        customer.name,
        customer.locale,
    )
    return [] if same else [updated]


def evolve(customers: Customers, recorded: RecordedEvent) -> Customers:
    """The customers after an event of the order service."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case CustomerRegistered():
            customer = Customer(
                user_id=event.user_id,
                email=event.email,
                name=event.name,
                locale=event.locale,
                role=event.role,
                created_at=at,
                updated_at=at,
            )
        case CustomerUpdated():
            customer = replace(
                customers[event.user_id],
                email=event.email,
                name=event.name,
                locale=event.locale,
                updated_at=at,
            )
        case TokensRevoked():
            customer = replace(customers[event.user_id], token_version=event.token_version)
        case _:
            return customers
    return {**customers, customer.user_id: customer}
