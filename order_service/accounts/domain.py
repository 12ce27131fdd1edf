"""Customers: one for each e-mail address. Passwords are no part of the rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
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


Command = RegisterCustomer | UpdateCustomer


def decide(customers: Customers, command: Command) -> list[Event]:
    """The events that the command leads to. Raises Rejected: `email-taken`, `unknown-customer`."""
    if command.email and any(
        other.email == command.email and other.user_id != command.user_id
        for other in customers.values()
    ):
        raise email_taken(command.email)
    customer = customers.get(command.user_id)
    match command:
        case RegisterCustomer():
            return [] if customer else [_registered(command)]
        case UpdateCustomer():
            if customer is None:
                raise Rejected("unknown-customer", "there is no such customer")
            return _updated(customer, command)


def email_taken(email: str) -> Rejected:
    """Another customer has this address."""
    return Rejected("email-taken", f"{email} is registered already")


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
        case _:
            return customers
    return {**customers, customer.user_id: customer}
