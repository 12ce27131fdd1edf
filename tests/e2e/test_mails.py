"""What customers read: in their language, once for each event, whatever the mail server does."""

import re
from email.message import EmailMessage
from uuid import uuid4

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.running_shop import Fleet, Json

LOCALES = ("en", "ja")
KANA = re.compile(r"[\u3041-\u30ff]")


def somebody() -> str:
    return f"{uuid4().hex}@example.com"


async def mails_of(shop: Fleet, order: Json, *templates: str) -> dict[str, EmailMessage]:
    """The order's mails by template, once these and no others have come."""

    def told() -> list[Json] | None:
        items: list[Json] = shop.show("notifier", "/notifications", orderId=order["orderId"])[
            "items"
        ]
        return items if len(items) >= len(templates) else None

    notifications = await eventually(told, 30)
    assert notifications is not None
    names = {item["notificationId"]: item["template"] for item in notifications}
    assert {item["status"] for item in notifications} == {"SENT"}
    assert sorted(names.values()) == sorted(templates)
    mails = shop.mail.mails(order["email"])
    assert len(mails) == len(templates)
    return {names[mail["Message-ID"].strip("<>").partition("@")[0]]: mail for mail in mails}


def text_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def assert_speaks(mail: EmailMessage, locale: str, order: Json) -> None:
    assert mail["Content-Language"] == locale
    assert order["orderId"][-8:].upper() in mail["Subject"]
    for words in (mail["Subject"], text_of(mail, "plain"), text_of(mail, "html")):
        assert bool(KANA.search(words)) == (locale == "ja")


@pytest.mark.parametrize("locale", LOCALES)
async def test_a_delivered_order_is_told_in_three_mails(shop: Fleet, locale: str):
    order = shop.order(("plenty", 2), email=somebody(), locale=locale)
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert_speaks(mail, locale, order)
    shown = await shop.until(order["orderId"], "COMPLETED")
    assert shown["trackingNumber"] in text_of(mails["delivered"], "plain")
    assert shown["trackingNumber"] in text_of(mails["delivered"], "html")
    assert "2,000" in text_of(mails["confirmation"], "plain")


@pytest.mark.parametrize("locale", LOCALES)
async def test_an_order_without_stock_is_told_what_lacks(shop: Fleet, locale: str):
    order = shop.order(("prod001", 20), email=somebody(), locale=locale)
    mails = await mails_of(shop, order, "confirmation", "cancelled")
    assert_speaks(mails["cancelled"], locale, order)
    for kind in ("plain", "html"):
        assert "Prod001" in text_of(mails["cancelled"], kind)


async def test_an_order_nobody_ships_is_told_so(declining: Fleet):
    for locale in LOCALES:
        order = declining.order(("plenty", 1), email=somebody(), locale=locale)
        mails = await mails_of(declining, order, "confirmation", "dispatched", "failed")
        assert_speaks(mails["failed"], locale, order)


async def test_every_mail_has_a_message_id_of_its_own(shop: Fleet):
    orders = [shop.order(("plenty", 1), email=somebody()) for _ in range(5)]
    for order in orders:
        await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    ids = [mail["Message-ID"] for order in orders for mail in shop.mail.mails(order["email"])]
    assert len(ids) == len(set(ids)) == 15


async def test_what_is_sold_is_escaped(shop: Fleet):
    product = {"productId": "odd", "name": "<b>Odd</b> & even", "price": 1000, "stock": 5}
    shop.post("inventory", "/products", product)
    await eventually(lambda: shop.is_for_sale("odd"))
    order = shop.order(("odd", 1), email=somebody())
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert "&lt;b&gt;Odd&lt;/b&gt; &amp; even" in text_of(mail, "html")
        assert "<b>Odd</b> & even" in text_of(mail, "plain")


async def test_an_order_without_address_is_carried_out_and_its_mails_skipped(shop: Fleet):
    order = shop.order(("plenty", 1))
    await shop.until(order["orderId"], "COMPLETED")

    def skipped() -> bool:
        told = shop.show("notifier", "/notifications", orderId=order["orderId"])["items"]
        return [item["status"] for item in told] == ["SKIPPED"] * 3

    await eventually(skipped, 30)


def ordered_by_customer(shop: Fleet, email: str, locale: str) -> Json:
    """He signs up and in, and orders without naming an address."""
    account = {"email": email, "password": "a good one", "locale": locale}
    assert shop.post("order", "/auth/register", account).status_code == 201
    tokens = shop.post("order", "/auth/login", {"email": email, "password": "a good one"}).json()
    placed = httpx.post(
        shop.url("order", "/orders"),
        json={"items": [{"productId": "plenty", "quantity": 1}]},
        headers={"Authorization": f"Bearer {tokens['accessToken']}"},
    )
    assert placed.status_code == 201, placed.text
    return placed.json() | {"email": email}


async def test_a_customer_is_mailed_at_the_address_he_registered_and_again_on_request(shop: Fleet):
    email = somebody()
    order = ordered_by_customer(shop, email, "ja")
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert_speaks(mail, "ja", order)
    first = mails["delivered"]["Message-ID"].strip("<>").partition("@")[0]
    again = shop.post("notifier", f"/notifications/{first}/resend", None)
    assert (again.status_code, again.json()["resendOf"]) == (202, first)
    wanted = again.json()["notificationId"]
    mail = await eventually(lambda: mail_with(shop, email, wanted))
    assert text_of(mail, "plain") == text_of(mails["delivered"], "plain")
    await shop.settle()


def mail_with(shop: Fleet, email: str, notification_id: str) -> EmailMessage | None:
    found = [mail for mail in shop.mail.mails(email) if notification_id in mail["Message-ID"]]
    return found[0] if found else None


async def test_nothing_waits_for_the_mail_server(shop: Fleet):
    shop.mail.stop()
    try:
        order = shop.order(("plenty", 1), email=somebody())
        await shop.until(order["orderId"], "COMPLETED")
    finally:
        shop.mail.start()
    await mails_of(shop, order, "confirmation", "dispatched", "delivered")
