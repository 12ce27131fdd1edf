"""Makes an e-mail of a requested mail and its order: subject, text and HTML, in the order's language.

Values are escaped in HTML, and no value can break out of a header.
"""

import re
from datetime import timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from notifier_service.account_mails import AccountMail, AccountTemplate
from notifier_service.domain import KnownOrder
from notifier_service.mail_links import MailLinks
from notifier_service.mails import Mail
from shared.chassis.messages import clock
from shared.contracts import Address as ShippingAddress
from shared.money import money
from shared.order_number import order_number

LOCALES = ("en", "ja")
ORDER_LINK_VALIDITY = timedelta(days=90)
"""From each mail on: an order may wait long for its delivery."""
MAX_ADDRESS_LENGTH = 254
BLANK_LINES = re.compile(r"\n{3,}")
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028\u2029]")


class Unsendable(Exception):
    """The mail can never be sent, so it is not tried again."""


class Composer:
    """Writes mails from one sender."""

    def __init__(
        self, sender: Address, default_locale: str, links: MailLinks | None = None
    ) -> None:
        """Mails about accounts need `links`, and those to guests contain one to their order."""
        self._sender = sender
        self._links = links
        self._default_locale = default_locale
        self._templates = Environment(
            loader=PackageLoader("notifier_service"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"money": money, "one_line": one_line}

    def compose(self, mail: Mail, order: KnownOrder) -> EmailMessage:
        """The whole e-mail. Raises Unsendable for an address or id that does not fit a header."""
        locale = order.locale if order.locale in LOCALES else self._default_locale
        values = {
            "mail": mail,
            "order": order,
            "locale": locale,
            "shop": self._sender.display_name or self._sender.domain,
            "number": order_number(order.order_id),
            "link": self._order_link(order),
            "address": address_lines(order.shipping_address),
            "names": {item.product_id: item.name or item.product_id for item in order.items},
        }
        template = f"{locale}/{mail.template}"
        return self._message(mail.notification_id, order.email or "", template, values)

    def compose_account_mail(self, mail: AccountMail) -> EmailMessage:
        """The whole e-mail, with its link. Raises Unsendable for an address that does not fit a header."""
        locale = mail.locale if mail.locale in LOCALES else self._default_locale
        values: dict[str, object] = {
            "mail": mail,
            "link": self._link(mail),
            "locale": locale,
            "shop": self._sender.display_name or self._sender.domain,
        }
        return self._message(mail.event_id, mail.recipient, "account", values)

    def _order_link(self, order: KnownOrder) -> str | None:
        """For guests: customers sign in."""
        if self._links is None or not order.guest:
            return None
        return self._links.order(order.order_id, clock.now() + ORDER_LINK_VALIDITY)

    def _link(self, mail: AccountMail) -> str | None:
        if mail.request_id is None or mail.expires_at is None or self._links is None:
            return None
        subject = f"{mail.user_id}.{mail.request_id}"
        if mail.template is AccountTemplate.PASSWORD_RESET:
            return self._links.password_reset(subject, mail.expires_at)
        return self._links.email_verification(subject, mail.expires_at)

    def _message(
        self, mail_id: str, email: str, template: str, values: dict[str, object]
    ) -> EmailMessage:
        """`values` contain the `locale`."""
        subject, _, text = self._render(f"{template}.txt", values).partition("\n")
        html = self._render(f"{template}.html", values | {"subject": subject})
        message = EmailMessage(policy=SMTP)
        _set(message, "From", self._sender)
        _set(message, "To", recipient(email))
        _set(message, "Subject", subject)
        _set(message, "Message-ID", f"<{mail_id}@{self._sender.domain}>")
        _set(message, "Date", format_datetime(clock.now()))
        _set(message, "Auto-Submitted", "auto-generated")
        message.set_content(BLANK_LINES.sub("\n\n", text).strip("\n") + "\n")
        message.add_alternative(html, subtype="html")
        _set(message, "Content-Language", str(values["locale"]))
        return message

    def _render(self, template: str, values: dict[str, object]) -> str:
        return CONTROLS.sub(" ", self._templates.get_template(template).render(values))


def recipient(email: str) -> Address:
    """The address to write to, in ASCII. Raises Unsendable for anything but one plain address."""
    name, _, domain = email.rpartition("@")
    try:
        plain = f"{name}@{domain.encode('idna').decode()}"
        address = Address(addr_spec=plain)
    except (ValueError, IndexError, MessageError) as error:
        raise Unsendable(f"not an e-mail address: {error}") from error
    if address.addr_spec != plain or len(plain) > MAX_ADDRESS_LENGTH or not name:
        raise Unsendable("not one plain e-mail address")
    return address


def address_lines(address: ShippingAddress | None) -> list[str]:
    """The address as on a parcel; none for an order without one."""
    if address is None:
        return []
    city = f"{address.postcode} {address.city}"
    lines = (address.name, *address.lines, city, address.country or "", address.phone or "")
    return [one_line(line) for line in lines if line.strip()]


def one_line(value: object) -> str:
    """The value without line breaks."""
    return " ".join(str(value).split())


def _set(message: EmailMessage, name: str, value: str | Address) -> None:
    try:
        message[name] = value
    except (ValueError, MessageError) as error:
        raise Unsendable(f"{name}: {error}") from error
    if message[name].defects:
        raise Unsendable(f"{name}: {message[name].defects[0]}")
