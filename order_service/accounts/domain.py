"""Who may sign in: one customer to an e-mail address. Passwords are not the rules' business."""

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
"""An address in its one spelling: a customer can be found by it."""


class Customer(Struct, frozen=True, kw_only=True):
    """Somebody who signed up; `email` is in its one spelling (see `emails`)."""

    user_id: str
    email: str
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"
    created_at: datetime
    updated_at: datetime


Customers = Mapping[str, Customer]
"""By user id: those a command names, by id or by address."""


class RegisterCustomer(Struct, frozen=True, kw_only=True):
    """Sign up."""

    user_id: CustomerId
    email: EmailKey
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"


class UpdateCustomer(Struct, frozen=True, kw_only=True):
    """Change what is known of somebody; what is None stays."""

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
    known = customers.get(command.user_id)
    match command:
        case RegisterCustomer():
            return [] if known else [_registered(command)]
        case UpdateCustomer():
            if known is None:
                raise Rejected("unknown-customer", "there is no such customer")
            return _updated(known, command)


def email_taken(email: str) -> Rejected:
    """Somebody else has this address."""
    return Rejected("email-taken", f"{email} is registered already")


def _registered(command: RegisterCustomer) -> CustomerRegistered:
    return CustomerRegistered(
        user_id=command.user_id,
        email=command.email,
        name=command.name,
        locale=command.locale,
        role=command.role,
    )


def _updated(known: Customer, command: UpdateCustomer) -> list[Event]:
    updated = CustomerUpdated(
        user_id=known.user_id,
        email=command.email or known.email,
        name=command.name or known.name,
        locale=command.locale or known.locale,
    )
    same = (updated.email, updated.name, updated.locale) == (
        known.email,
        known.name,
        known.locale,
    )
    return [] if same else [updated]


def evolve(customers: Customers, recorded: RecordedEvent) -> Customers:
    """The customers after an event of ours."""
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
