"""Customers: one for each e-mail address. Passwords are no part of the rules, but what ends with them is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import TokensRevoked
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected, bad_link
from shared.chassis.messages.touches import id_of
from shared.contracts import (
    CustomerEmailChanged,
    CustomerEmailVerified,
    CustomerId,
    CustomerPasswordChanged,
    CustomerRegistered,
    CustomerRoleChanged,
    CustomerUpdated,
    EmailVerificationRequested,
    PasswordResetRequested,
    Role,
)

EmailKey = Annotated[str, id_of("email")]
"""An address in its canonical form (see `emails`)."""
LinkKind = Literal["password-reset", "email-verification"]

MAX_LINKS = 10
"""Unused ones of a customer, of both kinds: a further request ends the oldest."""


class Link(Struct, frozen=True, kw_only=True):
    """A link that was requested and not used yet."""

    request_id: str
    kind: LinkKind
    email: str
    """Where it was sent to."""
    expires_at: datetime


class Customer(Struct, frozen=True, kw_only=True):
    """A registered customer; `email` is in its canonical form (see `emails`)."""

    user_id: str
    email: str
    email_verified: bool = False
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"
    token_version: int = 0
    """Access tokens of a lower version are revoked."""
    links: tuple[Link, ...] = ()
    created_at: datetime
    updated_at: datetime


Customers = Mapping[str, Customer]
"""By user id."""


class LinkOrder(Struct, frozen=True, kw_only=True):
    """A link to be sent."""

    request_id: str
    expires_at: datetime


class RegisterCustomer(Struct, frozen=True, kw_only=True):
    """`verification` is the link by which the customer verifies the address, if one is to be sent."""

    user_id: CustomerId
    email: EmailKey
    name: str | None = None
    locale: str | None = None
    role: Role = "customer"
    verification: LinkOrder | None = None


class UpdateCustomer(Struct, frozen=True, kw_only=True):
    """Change a customer's data; None leaves a value unchanged."""

    user_id: CustomerId
    name: str | None = None
    locale: str | None = None


class ChangeEmail(Struct, frozen=True, kw_only=True):
    """Change the address, and the rest of the data with it, if the password was right at this token version."""

    user_id: CustomerId
    token_version: int
    email: EmailKey
    name: str | None = None
    locale: str | None = None
    verification: LinkOrder


class ChangePassword(Struct, frozen=True, kw_only=True):
    """End everything that was started with the old password, if that was right at this token version."""

    user_id: CustomerId
    token_version: int


class RequestPasswordReset(Struct, frozen=True, kw_only=True):
    user_id: CustomerId
    link: LinkOrder


class ResetPassword(Struct, frozen=True, kw_only=True):
    """Use a link, at this time."""

    user_id: CustomerId
    request_id: str
    now: datetime


class RequestVerification(Struct, frozen=True, kw_only=True):
    user_id: CustomerId
    link: LinkOrder


class VerifyEmail(Struct, frozen=True, kw_only=True):
    """Use a link, at this time."""

    user_id: CustomerId
    request_id: str
    now: datetime


class ChangeRole(Struct, frozen=True, kw_only=True):
    """`changed_by` is the admin who asks for it."""

    user_id: CustomerId
    role: Role
    changed_by: CustomerId
    even_if_unverified: bool = False


LinkCommand = RequestPasswordReset | ResetPassword | RequestVerification | VerifyEmail
Command = (
    RegisterCustomer | UpdateCustomer | ChangeEmail | ChangePassword | ChangeRole | LinkCommand
)


def decide(customers: Customers, command: Command) -> list[Event]:
    """The events that the command leads to.

    Raises Rejected: `email-taken`, `unknown-customer`, `wrong-password`, `bad-link`, `not-admin`, `own-role`,
    `email-not-verified`.
    """
    if isinstance(command, RegisterCustomer):
        _reject_taken(customers, command.user_id, command.email)
        return [] if command.user_id in customers else _registered(command)
    customer = customers.get(command.user_id)
    if customer is None:
        is_link = isinstance(command, ResetPassword | VerifyEmail)
        raise bad_link() if is_link else unknown_customer()
    match command:
        case UpdateCustomer():
            return _updated(customer, command)
        case ChangeEmail():
            _reject_taken(customers, command.user_id, command.email)
            return _email_changed(customer, command)
        case ChangePassword(token_version=version):
            _reject_outdated(customer, version)
            return _password_changed(customer)
        case ChangeRole():
            return _role_changed(customers, customer, command)
        case _:
            return _decide_link(customer, command)


def _decide_link(customer: Customer, command: LinkCommand) -> list[Event]:
    match command:
        case RequestPasswordReset(link=link):
            return [_reset_requested(customer, link)]
        case ResetPassword():
            used = usable_link(customer, "password-reset", command.request_id, command.now)
            return [*_verified(customer, used), *_password_changed(customer)]
        case RequestVerification(link=link):
            return [] if customer.email_verified else [_verification_requested(customer, link)]
        case VerifyEmail():
            used = usable_link(customer, "email-verification", command.request_id, command.now)
            return _verified(customer, used)


def usable_link(customer: Customer, kind: LinkKind, request_id: str, now: datetime) -> Link:
    """The link of this id, if it was neither used nor replaced and has not expired. Raises Rejected, `bad-link`."""
    for link in customer.links:
        if (link.kind, link.request_id) == (kind, request_id) and now < link.expires_at:
            return link
    raise bad_link()


def email_taken(email: str) -> Rejected:
    """Another customer has this address."""
    return Rejected("email-taken", f"{email} is registered already")


def wrong_password() -> Rejected:
    return Rejected("wrong-password", "the current password is wrong")


def unknown_customer() -> Rejected:
    return Rejected("unknown-customer", "there is no such customer")


def _reject_taken(customers: Customers, user_id: str, email: str) -> None:
    others = (customer for customer in customers.values() if customer.user_id != user_id)
    if any(other.email == email for other in others):
        raise email_taken(email)


def _reject_outdated(customer: Customer, token_version: int) -> None:
    """The password that was checked may not be the current one any more."""
    if customer.token_version != token_version:
        raise wrong_password()


def _registered(command: RegisterCustomer) -> list[Event]:
    registered = CustomerRegistered(
        user_id=command.user_id,
        email=command.email,
        name=command.name,
        locale=command.locale,
        role=command.role,
    )
    if command.verification is None:
        return [registered]
    return [registered, _verification_requested(registered, command.verification)]


def _updated(customer: Customer, command: UpdateCustomer | ChangeEmail) -> list[Event]:
    name, locale = command.name or customer.name, command.locale or customer.locale
    if (name, locale) == (customer.name, customer.locale):
        return []
    return [
        CustomerUpdated(user_id=customer.user_id, email=customer.email, name=name, locale=locale)
    ]


def _email_changed(customer: Customer, command: ChangeEmail) -> list[Event]:
    if command.email == customer.email:
        return _updated(customer, command)
    _reject_outdated(customer, command.token_version)
    updated = CustomerUpdated(
        user_id=customer.user_id,
        email=command.email,
        name=command.name or customer.name,
        locale=command.locale or customer.locale,
    )
    changed = CustomerEmailChanged(
        user_id=customer.user_id,
        previous_email=customer.email,
        email=command.email,
        locale=updated.locale,
    )
    requested = _verification_requested(updated, command.verification)
    return [updated, changed, requested, _tokens_revoked(customer)]


def _password_changed(customer: Customer) -> list[Event]:
    changed = CustomerPasswordChanged(
        user_id=customer.user_id, email=customer.email, locale=customer.locale
    )
    return [changed, _tokens_revoked(customer)]


def _reset_requested(customer: Customer, link: LinkOrder) -> PasswordResetRequested:
    return PasswordResetRequested(
        user_id=customer.user_id,
        request_id=link.request_id,
        email=customer.email,
        locale=customer.locale,
        expires_at=link.expires_at,
    )


def _verification_requested(
    customer: Customer | CustomerRegistered | CustomerUpdated, link: LinkOrder
) -> EmailVerificationRequested:
    return EmailVerificationRequested(
        user_id=customer.user_id,
        request_id=link.request_id,
        email=customer.email,
        locale=customer.locale,
        expires_at=link.expires_at,
    )


def _verified(customer: Customer, used: Link) -> list[Event]:
    """The customer who used the link has read the mail to its address."""
    if customer.email_verified or used.email != customer.email:
        return []
    return [CustomerEmailVerified(user_id=customer.user_id, email=used.email)]


def _role_changed(customers: Customers, customer: Customer, command: ChangeRole) -> list[Event]:
    changed_by = customers.get(command.changed_by)
    if changed_by is None or changed_by.role != "admin":  # their token is older than their role
        raise Rejected("not-admin", "only an admin may do this")
    if customer.role == command.role:
        return []
    if changed_by.user_id == customer.user_id:
        raise Rejected("own-role", "your own role is changed by another admin")
    if (
        command.role != "customer"
        and not customer.email_verified
        and not command.even_if_unverified
    ):
        raise Rejected("email-not-verified", "the customer has not verified the e-mail address")
    changed = CustomerRoleChanged(user_id=customer.user_id, role=command.role)
    return [changed, _tokens_revoked(customer)]


def _tokens_revoked(customer: Customer) -> TokensRevoked:
    return TokensRevoked(user_id=customer.user_id, token_version=customer.token_version + 1)


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
            customer = _with_data(customers[event.user_id], event, at)
        case CustomerRoleChanged():
            customer = replace(customers[event.user_id], role=event.role, updated_at=at)
        case CustomerEmailVerified():
            customer = _without_links(customers[event.user_id], "email-verification")
            customer = replace(customer, email_verified=True, updated_at=at)
        case CustomerPasswordChanged():
            customer = _without_links(customers[event.user_id], "password-reset")
        case PasswordResetRequested():
            customer = _with_link(customers[event.user_id], event, "password-reset", at)
        case EmailVerificationRequested():
            customer = _with_link(customers[event.user_id], event, "email-verification", at)
        case TokensRevoked():
            customer = replace(customers[event.user_id], token_version=event.token_version)
        case _:
            return customers
    return {**customers, customer.user_id: customer}


def _with_data(customer: Customer, event: CustomerUpdated, at: datetime) -> Customer:
    changed = replace(
        customer, email=event.email, name=event.name, locale=event.locale, updated_at=at
    )
    if event.email == customer.email:
        return changed
    return replace(changed, email_verified=False, links=())  # links were sent to the old address


def _with_link(
    customer: Customer,
    event: PasswordResetRequested | EmailVerificationRequested,
    kind: LinkKind,
    at: datetime,
) -> Customer:
    link = Link(
        request_id=event.request_id, kind=kind, email=event.email, expires_at=event.expires_at
    )
    unexpired = [link for link in customer.links if at < link.expires_at]
    return replace(customer, links=(*unexpired, link)[-MAX_LINKS:])


def _without_links(customer: Customer, kind: LinkKind) -> Customer:
    return replace(customer, links=tuple(link for link in customer.links if link.kind != kind))
