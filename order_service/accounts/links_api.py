"""Password resets and verified addresses over HTTP, as JSON."""

from typing import Annotated

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from order_service.accounts.mailed_links import MailedLinks
from order_service.request_fields import Email, NewPassword, canonical_email
from shared.chassis.http.auth import signed_in_only
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import while_connected
from shared.chassis.http.links import MAX_LENGTH
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest

Links = NamedDependency[MailedLinks]
LinkToken = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]


class ResetRequest(RequestBody, frozen=True, kw_only=True):
    """The address of the account."""

    email: Email


class PasswordReset(RequestBody, frozen=True, kw_only=True):
    """`link` is the parameter of that name in the link that was sent."""

    link: LinkToken
    new_password: NewPassword


class Verification(RequestBody, frozen=True, kw_only=True):
    """`link` is the parameter of that name in the link that was sent."""

    link: LinkToken


class LinkRequested(Struct, frozen=True, kw_only=True):
    """What happens next, as a sentence for the customer."""

    detail: str


RESET_REQUESTED = LinkRequested(
    detail="If there is an account with this address, a link to set another password was sent to it."
)
VERIFICATION_REQUESTED = LinkRequested(
    detail="Unless your address is verified already, a link to verify it was sent to it."
)


class LinkController(Controller):
    """What is asked for by mail, and done with the link in it."""

    path = "/auth"
    tags = ("accounts",)

    @post(
        "/password-reset",
        status_code=202,
        opt=WITHOUT_KEY,
        responses=responses("too-many-requests"),
    )
    async def request_password_reset(
        self, request: ServiceRequest, data: JSONBody[ResetRequest], mailed_links: Links
    ) -> LinkRequested:
        """Have a link sent with which another password can be set. The answer is the same if there is no such account."""
        mailed_links.request_reset(canonical_email(data.email), client_address(request))
        return RESET_REQUESTED

    @post(
        "/password-reset/confirm",
        status_code=204,
        opt=WITHOUT_KEY,
        responses=responses("bad-link", "too-many-requests"),
    )
    async def reset_password(
        self, request: ServiceRequest, data: JSONBody[PasswordReset], mailed_links: Links
    ) -> None:
        """Set another password with a link, which is valid once; every session of the account ends."""
        address = client_address(request)
        reset = mailed_links.reset_password(data.link, data.new_password, address)
        await while_connected(request, reset)

    @post(
        "/email-verification",
        status_code=202,
        opt=WITHOUT_KEY,
        guards=[signed_in_only],
        responses=responses("unknown-customer", "too-many-requests"),
    )
    async def request_email_verification(
        self, request: ServiceRequest, mailed_links: Links
    ) -> LinkRequested:
        """Have the link sent again by which you verify your address. Nothing is sent if it is verified."""
        await mailed_links.request_verification(request.user)
        return VERIFICATION_REQUESTED

    @post(
        "/email-verification/confirm",
        status_code=204,
        opt=WITHOUT_KEY,
        responses=responses("bad-link", "too-many-requests"),
    )
    async def verify_email(
        self, request: ServiceRequest, data: JSONBody[Verification], mailed_links: Links
    ) -> None:
        """Verify an address with a link, which is valid once."""
        await mailed_links.verify_email(data.link, client_address(request))
