"""The addresses of the links in mails, each signed for one purpose."""

from datetime import datetime
from urllib.parse import quote

from shared.chassis.http.links import Purpose, sign
from shared.chassis.http.token_signer import TokenSigner
from shared.settings import ShopSettings, public_url_of


class LinksNotReady(Exception):
    """The service is starting: its key has not been read yet."""


class MailLinks:
    """Makes links with the service's key, which `use` sets before the first mail is sent."""

    def __init__(self, settings: ShopSettings) -> None:
        self._accounts = public_url_of(settings, "order")
        self._orders = public_url_of(settings, "read")
        self._signer: TokenSigner | None = None

    def use(self, signer: TokenSigner) -> None:
        self._signer = signer

    def order(self, order_id: str, expires_at: datetime) -> str:
        """Shows a guest their order without an account."""
        link = self._signed(Purpose.ORDER, order_id, expires_at)
        return f"{self._orders}/orders/{quote(order_id)}?link={link}"

    def password_reset(self, subject: str, expires_at: datetime) -> str:
        """`subject` is a user id and the id of a request, with a dot between them."""
        link = self._signed(Purpose.PASSWORD_RESET, subject, expires_at)
        return f"{self._accounts}/account/reset-password?link={link}"

    def email_verification(self, subject: str, expires_at: datetime) -> str:
        """`subject` as of `password_reset`."""
        link = self._signed(Purpose.EMAIL_VERIFICATION, subject, expires_at)
        return f"{self._accounts}/account/verify-email?link={link}"

    def _signed(self, purpose: Purpose, subject: str, expires_at: datetime) -> str:
        if self._signer is None:
            raise LinksNotReady("the key of links has not been read yet")
        return sign(self._signer, purpose, subject, expires_at)
