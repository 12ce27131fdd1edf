"""What customers do with links from mails: set another password, and verify their address.

The notifier signs a link, and this service verifies it; that it is used once is a rule of the domain.
"""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from order_service.accounts import store
from order_service.accounts.domain import (
    Customer,
    LinkKind,
    LinkOrder,
    RequestPasswordReset,
    RequestVerification,
    ResetPassword,
    VerifyEmail,
    usable_link,
)
from order_service.accounts.emails import mailbox
from order_service.accounts.password_rules import weakness
from order_service.accounts.passwords import Passwords
from order_service.accounts.service import replace_password
from order_service.domain import Command, OrderState
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.http.auth import Caller
from shared.chassis.http.links import Purpose
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.http.rate_limits import Limit
from shared.chassis.messages import actor, clock
from shared.chassis.messages.rejection import Rejected, bad_link
from shared.chassis.runtime.service import Service
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS

RESET_VALIDITY = timedelta(hours=1)
VERIFICATION_VALIDITY = timedelta(days=3)
MAX_IN_BACKGROUND = 64

log = structlog.get_logger()


def new_reset() -> LinkOrder:
    return LinkOrder(request_id=clock.new_id(), expires_at=clock.now() + RESET_VALIDITY)


def new_verification() -> LinkOrder:
    return LinkOrder(request_id=clock.new_id(), expires_at=clock.now() + VERIFICATION_VALIDITY)


class MailedLinks:
    """Requests links and uses them."""

    def __init__(self, service: Service[OrderState, Command], passwords: Passwords) -> None:
        self._service = service
        self._passwords = passwords
        self._requests: set[asyncio.Task[None]] = set()

    def request_reset(self, email: str, address: str) -> None:
        """Have a link sent to the account of this canonical address, if there is one.

        The work is done after the answer, so that neither the answer nor its time depends on whether there is an account.
        Raises Rejected: `too-many-requests`, `busy`.
        """
        self._service.limits.take(
            (Limit.RESET_REQUESTS_PER_ADDRESS, address),
            (Limit.RESET_REQUESTS_PER_RECIPIENT, mailbox(email)),
        )
        if len(self._requests) >= MAX_IN_BACKGROUND:
            raise Rejected("busy", "too many password resets are under way; try again")
        request = asyncio.create_task(self._request_reset(email))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def close(self) -> None:
        """Finish the requests under way."""
        await asyncio.gather(*self._requests)

    async def reset_password(self, link: str, password: str, address: str) -> None:
        """Set the password, once per link, and end every session and access token. Raises Rejected, `bad-link`; BadRequest."""
        self._service.limits.take((Limit.LINK_USES_PER_ADDRESS, address))
        customer, request_id = await self._opened(link, "password-reset")
        if wrong := weakness(password, customer.email):
            raise BadRequest(FieldError(field="newPassword", message=wrong))
        new_hash = await self._passwords.replace(password)
        command = ResetPassword(user_id=customer.user_id, request_id=request_id, now=clock.now())
        replace = partial(replace_password, user_id=customer.user_id, new_hash=new_hash)
        await self._service.writer.execute(
            CommandEnvelope(command, actor=_customer(customer), extra_writes=replace)
        )

    async def request_verification(self, caller: Caller) -> None:
        """Have a link sent to the caller's address, unless it is verified. Raises Rejected, `too-many-requests`."""
        user_id = caller.user_id or ""
        self._service.limits.take((Limit.VERIFICATION_REQUESTS_PER_CUSTOMER, user_id))
        command = RequestVerification(user_id=user_id, link=new_verification())
        await self._service.writer.execute(CommandEnvelope(command, actor=caller.actor))

    async def verify_email(self, link: str, address: str) -> None:
        """Note that the address is the customer's, once per link. Raises Rejected, `bad-link`."""
        self._service.limits.take((Limit.LINK_USES_PER_ADDRESS, address))
        customer, request_id = await self._opened(link, "email-verification")
        command = VerifyEmail(user_id=customer.user_id, request_id=request_id, now=clock.now())
        await self._service.writer.execute(CommandEnvelope(command, actor=_customer(customer)))

    async def check(self, link: str, kind: LinkKind) -> None:
        """Whether the link can still be used. Raises Rejected, `bad-link`."""
        await self._opened(link, kind)

    async def _opened(self, link: str, kind: LinkKind) -> tuple[Customer, str]:
        """The customer that the link was sent to, and the id of its request. Raises Rejected, `bad-link`."""
        subject = await self._service.links.subject_of(link, Purpose(kind))
        user_id, _, request_id = subject.partition(".")
        customer = await self._service.reads.run(partial(store.find, user_id=user_id))
        if customer is None:
            raise bad_link()
        usable_link(customer, kind, request_id, clock.now())
        return customer, request_id

    async def _request_reset(self, email: str) -> None:
        try:
            customer = await self._service.reads.run(partial(store.find_by_email, email=email))
            if customer:
                command = RequestPasswordReset(user_id=customer.user_id, link=new_reset())
                await self._service.writer.execute(CommandEnvelope(command, actor=actor.GUEST))
        except (Rejected, StorageUnavailable, *TRANSIENT_DATABASE_ERRORS) as error:
            log.warning("password_reset.not_requested", reason=type(error).__name__)


def _customer(customer: Customer) -> str:
    """The actor: a link stands for the customer to whom it was sent."""
    return f"{customer.role}:{customer.user_id}"
