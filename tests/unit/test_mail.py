import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import product

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier_service.composer import LOCALES, Composer, Unsendable, recipient
from notifier_service.domain import KnownOrder, masked
from notifier_service.mail_links import MailLinks
from notifier_service.mails import Mail, Template
from notifier_service.smtp import SmtpServer, read_sender, read_url
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.settings import SettingsError
from shared.contracts import Address, FailedItem, OrderItem
from shared.order_number import order_number
from shared.settings import ShopSettings
from tests.support.addresses import ADDRESS

COMPOSER = Composer(read_sender("Quadrille <shop@quadrille.example>"), "en")
LINKS = MailLinks(ShopSettings(public_url="https://shop.example"))
LINKS.use(TokenSigner.generate())
LINKING = Composer(read_sender("Quadrille <shop@quadrille.example>"), "en", LINKS)
ORDER = KnownOrder(
    user_id="user123",
    guest=True,
    order_id="0199a1b2-7c3d-7aaa-8bbb-0123456789ab",
    email="jane@example.com",
    locale="en",
    items=(
        OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),
        OrderItem(product_id="prod002", quantity=1, price=3000),
    ),
    total_amount=13_000,
    currency="JPY",
    shipping_address=ADDRESS,
)
MAIL = Mail(
    notification_id="2f0c0e4e-6a0b-5a51-b8a5-90f5c39d0f2a",
    event_id="e1",
    order_id=ORDER.order_id,
    template=Template.CONFIRMATION,
)
DELIVERED = replace(MAIL, template=Template.DELIVERED, tracking_number="SIM-0123456789")
NO_STOCK = replace(
    MAIL,
    template=Template.CANCELLED,
    reason="NO_STOCK",
    failed_items=(FailedItem(product_id="prod001", requested_quantity=20, available_quantity=10),),
)


def text_of(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part
    return part.get_content()


def html_of(message: EmailMessage) -> str:
    part = message.get_body(("html",))
    assert part
    return part.get_content()


def composed(mail: Mail = MAIL, **changes) -> EmailMessage:
    return COMPOSER.compose(mail, replace(ORDER, **changes))


def received(message: EmailMessage) -> EmailMessage:
    """The message as its recipient parses it."""
    return message_from_bytes(message.as_bytes(), policy=default)


@pytest.mark.parametrize(("locale", "template"), list(product(LOCALES, Template)))
def test_every_template_exists_in_every_locale(locale, template):
    message = received(composed(replace(DELIVERED, template=template), locale=locale))
    for part in (text_of(message), html_of(message)):
        assert "Super Keyboard" in part
        assert "prod002" in part
        assert "¥13,000" in part
        assert ORDER.order_id in part
    assert message["Content-Language"] == locale
    assert f'<html lang="{locale}">' in html_of(message)
    assert order_number(ORDER.order_id) in message["Subject"]


def test_mail_uses_the_orders_locale():
    assert f"ご注文 {order_number(ORDER.order_id)} を承りました" in composed(locale="ja")["Subject"]
    assert "We have your order" in composed(locale="en")["Subject"]


@pytest.mark.parametrize("locale", [None, "fr", "../en"])
def test_order_without_supported_locale_uses_default(locale):
    in_japanese = Composer(read_sender("shop@quadrille.example"), "ja")
    assert in_japanese.compose(MAIL, replace(ORDER, locale=locale))["Content-Language"] == "ja"


@pytest.mark.parametrize("locale", LOCALES)
def test_delivered_mail_shows_tracking_number(locale):
    message = composed(DELIVERED, locale=locale)
    assert "SIM-0123456789" in text_of(message)
    assert "SIM-0123456789" in html_of(message)


def test_out_of_stock_mail_shows_missing_quantities():
    assert "Super Keyboard: 20 ordered, 10 available" in text_of(composed(NO_STOCK))
    assert "Super Keyboard: 20 ordered, 10 available" in html_of(composed(NO_STOCK))
    assert "在庫 10 点" in text_of(composed(NO_STOCK, locale="ja"))


@pytest.mark.parametrize("reason", ["NO_STOCK", "CUSTOMER", "EXPIRED"])
def test_cancelled_mail_explains_that_nothing_was_charged(reason):
    mail = replace(NO_STOCK, reason=reason, failed_items=())
    for part in (text_of, html_of):
        assert "Nothing was charged, and nothing is kept" in part(composed(mail))
        assert "請求されておらず" in part(composed(mail, locale="ja"))


@pytest.mark.parametrize("locale", LOCALES)
def test_cancelled_mail_differs_by_reason(locale):
    reasons = (
        ("NO_STOCK", None),
        ("CUSTOMER", "CUSTOMER"),
        ("CUSTOMER", "SHOP"),
        ("EXPIRED", "DEADLINE"),
    )
    mails = [
        composed(replace(NO_STOCK, reason=reason, cancelled_by=by), locale=locale)
        for reason, by in reasons
    ]
    for part in (text_of, html_of):
        assert len({part(mail) for mail in mails}) == 4


AS_YOU_ASKED = {"en": "As you asked", "ja": "ご希望により"}


@pytest.mark.parametrize("locale", LOCALES)
def test_cancelled_mail_quotes_the_shops_reason(locale):
    mail = replace(NO_STOCK, reason="CUSTOMER", cancelled_by="SHOP", explanation="<b>broken\nglass")
    for part in (text_of, html_of):
        asked = part(composed(replace(mail, cancelled_by="CUSTOMER"), locale=locale))
        assert AS_YOU_ASKED[locale] in asked
        assert AS_YOU_ASKED[locale] not in part(composed(mail, locale=locale))
    assert "<b>broken glass" in text_of(composed(mail, locale=locale))
    assert "&lt;b&gt;broken" in html_of(composed(mail, locale=locale))


def test_failed_mail_explains_that_nothing_was_charged():
    failed = replace(MAIL, template=Template.FAILED)
    assert "Nothing was charged, and nothing is kept" in text_of(composed(failed))
    assert "Nothing was charged, and nothing is kept" in html_of(composed(failed))


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("locale", LOCALES)
def test_html_mail_escapes_every_value(locale, template):
    evil = "<script>alert('&')</script>"
    mail = replace(NO_STOCK, template=template, tracking_number=evil)
    items = (OrderItem(product_id="prod001", name=evil, quantity=1, price=1),)
    html = html_of(
        composed(mail, locale=locale, items=items, shipping_address=replace(ADDRESS, name=evil))
    )
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in html


def test_html_mail_escapes_the_shop_name():
    composer = Composer(read_sender('"A & <b>" <shop@example.com>'), "en")
    assert "A &amp; &lt;b&gt;" in html_of(composer.compose(MAIL, ORDER))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_values_cannot_add_lines_or_headers(value):
    items = (OrderItem(product_id="prod001", name=value, quantity=1, price=1),)
    address = replace(ADDRESS, name=f"x{value}")
    message = received(composed(items=items, shipping_address=address))
    assert message["To"] == "jane@example.com"
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    plain = text_of(composed(items=items, shipping_address=address))
    assert len(plain.splitlines()) == len(text_of(composed(items=ORDER.items[:1])).splitlines())


@pytest.mark.parametrize("template", [Template.CONFIRMATION, Template.DELIVERED])
def test_mail_shows_the_whole_address(template):
    message = composed(replace(DELIVERED, template=template))
    lines = ("Aiko Yamada", "1-2-3 Shibuya", "Room 405", "150-0002 Tokyo", "JP", "+81 3 1234 5678")
    assert "\n".join(f"  {line}" for line in lines) in text_of(message)
    assert "<br>".join(lines) in html_of(message)


@pytest.mark.parametrize("part", [text_of, html_of])
def test_mail_shows_incomplete_address_of_earlier_release(part):
    address = Address(name="", lines=("Somewhere",), postcode="", city="Kyoto")
    assert "Kyoto" in part(composed(shipping_address=address))
    assert "None" not in part(composed(shipping_address=address))


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("template", Template)
def test_mail_to_guest_links_to_the_order(template, locale):
    mail = replace(DELIVERED, template=template)
    message = LINKING.compose(mail, replace(ORDER, locale=locale))
    [link] = re.findall(r"https://\S+", text_of(message))
    address, _, token = link.partition("?link=")
    assert address == f"https://shop.example/orders/{ORDER.order_id}"
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == ORDER.order_id
    assert f'href="{address}?link=' in html_of(message)


def test_mail_to_customer_contains_no_link():
    message = LINKING.compose(MAIL, replace(ORDER, guest=False))
    assert "shop.example/orders" not in text_of(message) + html_of(message)


def test_message_id_is_the_same_on_every_retry():
    assert composed()["Message-ID"] == f"<{MAIL.notification_id}@quadrille.example>"
    assert composed()["Message-ID"] == composed()["Message-ID"]
    assert b"Message-ID: <2f0c0e4e" in composed().as_bytes()


@pytest.mark.parametrize(
    "email",
    [
        "jane@example.com\r\nBcc: all@example.com",
        "jane@example.com\nSubject: x",
        "jane,all@example.com",
        "<jane@example.com>, all@example.com",
        "Jane <jane@example.com>",
        "jane(all)@example.com",
        "jane\x00@example.com",
        "jane@exam ple.com",
        "jane@ex..com",
        "@example.com",
        "jane@",
        "jane",
        "",
        f"jane@{'a.' * 150}com",
    ],
)
def test_invalid_recipient_is_unsendable(email):
    with pytest.raises(Unsendable):
        composed(email=email)


def test_notification_id_cannot_inject_a_header():
    with pytest.raises(Unsendable, match="Message-ID"):
        composed(replace(MAIL, notification_id="x@y>\r\nBcc: all@example.com"))


@given(st.text())
def test_any_recipient_is_refused_or_one_address(email):
    try:
        address = recipient(email)
    except Unsendable:
        return
    assert composed(email=email)["To"].addresses == (address,)
    assert address.addr_spec.isascii()


def test_international_domain_is_encoded_as_ascii():
    assert recipient("jane@日本.jp").addr_spec == "jane@xn--wgv71a.jp"


@pytest.mark.parametrize(
    ("email", "expected"),
    [("jane@example.com", "j***@example.com"), ("j@example.com", "j***@example.com")],
)
def test_masked_address_keeps_first_letter_and_domain(email, expected):
    assert masked(email) == expected


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("null:", None),
        ("smtp://mail", SmtpServer(host="mail", port=25)),
        ("smtp://mail:1025/", SmtpServer(host="mail", port=1025)),
        ("smtps://mail", SmtpServer(host="mail", port=465, is_tls=True)),
        (
            "smtp://jane%40x:p%3Aw%2F@mail:587",
            SmtpServer(host="mail", port=587, username="jane@x", password="p:w/"),
        ),
        ("smtp://[::1]:25", SmtpServer(host="::1", port=25)),
    ],
)
def test_smtp_url_names_a_mail_server(url, server):
    assert read_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail",
        "http://mail",
        "smtp:",
        "smtp://",
        "smtp://mail:x",
        "smtp://mail:99999",
        "smtp://mail/path",
        "smtp://mail?tls=no",
        "smtp://[::1",
    ],
)
def test_invalid_smtp_url_is_refused(url):
    with pytest.raises(SettingsError, match=r"^QUADRILLE_SMTP_URL: "):
        read_url(url)


def test_refused_smtp_url_hides_its_password():
    with pytest.raises(SettingsError) as refused:
        read_url("smpt://jane:secret@mail")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("sender", ["", "shop", "a@x, b@x", "Shop <>", "Shop\n <a@x>", "@x"])
def test_invalid_sender_is_refused(sender):
    with pytest.raises(SettingsError, match=r"^QUADRILLE_MAIL_FROM: expected one address"):
        read_sender(sender)


@pytest.mark.parametrize(
    ("url", "must"),
    [
        ("smtp://jane:pw@mail.example.com", True),
        ("smtp://jane:pw@192.0.2.1", True),
        ("smtp://mail.example.com", False),
        ("smtps://jane:pw@mail.example.com", False),
        ("smtp://jane:pw@127.0.0.1", False),
        ("smtp://jane:pw@localhost", False),
    ],
)
def test_smtp_password_requires_tls_off_loopback(url, must):
    server = read_url(url)
    assert server
    assert server.must_upgrade is must
