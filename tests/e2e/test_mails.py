"""Mails to customers: in their language, one for each event, also after an outage of the mail server."""

import re
from email.message import EmailMessage
from uuid import uuid4

import pytest

from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json, ShopClient, accepted

LOCALES = ("en", "ja")
KANA = re.compile(r"[\u3041-\u30ff]")


def new_address() -> str:
    return f"{uuid4().hex}@example.com"


async def mails_of(shop: RunningShop, order: Json, *templates: str) -> dict[str, EmailMessage]:
    """The order's mails by template, once these and no others have arrived."""

    def recorded() -> list[Json] | None:
        items = notifications_of(shop, order)
        return items if len(items) >= len(templates) else None

    notifications = await eventually(recorded, 30)
    assert notifications is not None
    names = {item["notificationId"]: item["template"] for item in notifications}
    assert {item["status"] for item in notifications} == {"SENT"}
    assert sorted(names.values()) == sorted(templates)
    received = shop.mail.mails(order["email"])
    mails = [mail for mail in received if "/account/" not in text_of(mail, "plain")]
    assert len(mails) == len(templates)
    return {names[mail["Message-ID"].strip("<>").partition("@")[0]]: mail for mail in mails}


def notifications_of(shop: RunningShop, order: Json) -> list[Json]:
    document = shop.admin.show("notifier", "/notifications", orderId=order["orderId"])
    items: list[Json] = document["items"]
    return items


def text_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def assert_written_in(mail: EmailMessage, locale: str, order: Json) -> None:
    assert mail["Content-Language"] == locale
    assert order["orderNumber"] in mail["Subject"]
    for text in (mail["Subject"], text_of(mail, "plain"), text_of(mail, "html")):
        assert bool(KANA.search(text)) == (locale == "ja")


@pytest.mark.parametrize("locale", LOCALES)
async def test_delivered_order_sends_three_mails(shop: RunningShop, locale: str):
    order = shop.guest.order(("plenty", 2), email=new_address(), locale=locale)
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert_written_in(mail, locale, order)
    completed = await shop.until(order["orderId"], "COMPLETED")
    assert completed["trackingNumber"] in text_of(mails["delivered"], "plain")
    assert completed["trackingNumber"] in text_of(mails["delivered"], "html")
    assert "2,000" in text_of(mails["confirmation"], "plain")


@pytest.mark.parametrize("locale", LOCALES)
async def test_cancellation_mail_names_missing_products(shop: RunningShop, locale: str):
    order = shop.guest.order(("scarce", 20), email=new_address(), locale=locale)
    mails = await mails_of(shop, order, "confirmation", "cancelled")
    assert_written_in(mails["cancelled"], locale, order)
    for kind in ("plain", "html"):
        assert "Scarce" in text_of(mails["cancelled"], kind)


async def test_failed_shipment_sends_a_mail(shop: RunningShop):
    with shop.carrier(success_rate=0):
        for locale in LOCALES:
            order = shop.guest.order(("plenty", 1), email=new_address(), locale=locale)
            mails = await mails_of(shop, order, "confirmation", "failed")
            assert_written_in(mails["failed"], locale, order)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(
    ("outcome", "status", "template"),
    [
        ("delivered", "COMPLETED", "delivered"),
        ("lost", "SHIPMENT_FAILED", "failed"),
        ("returned", "SHIPMENT_FAILED", "failed"),
    ],
)
async def test_settled_parcel_is_mailed_without_note(
    shop: RunningShop, locale: str, outcome: str, status: str, template: str
):
    with shop.carrier(silent_rate=1):
        order = shop.guest.order(("plenty", 1), email=new_address(), locale=locale)
        order_id = order["orderId"]
        shipped = await shop.until(order_id, "SHIPPED")
    sent = await mails_of(shop, order, "confirmation", "dispatched")
    for kind in ("plain", "html"):
        assert shipped["trackingNumber"] in text_of(sent["dispatched"], kind)
        assert "simulated" in text_of(sent["dispatched"], kind)
    body = {"outcome": outcome, "note": "ticket 7"}
    accepted(shop.admin.post("shipping", f"/shipments/{order_id}/settle", body), 200)
    ended = await shop.until(order_id, status)
    assert ended["trackingNumber"] == shipped["trackingNumber"]
    mail = (await mails_of(shop, order, "confirmation", "dispatched", template))[template]
    assert_written_in(mail, locale, order)
    assert LOSS[locale, outcome] in text_of(mail, "plain")
    assert "ticket" not in text_of(mail, "plain")
    assert "ticket" not in repr(shop.guest.show("read", f"/orders/{order_id}"))
    assert "ticket" not in repr(shop.guest.show("read", f"/orders/{order_id}/timeline"))
    assert "ticket" in repr(shop.admin.show("read", f"/orders/{order_id}/timeline"))


LOSS = {
    ("en", "delivered"): "has arrived",
    ("en", "lost"): "has lost your parcel",
    ("en", "returned"): "brought your parcel back",
    ("ja", "delivered"): "お届けしました",
    ("ja", "lost"): "紛失",
    ("ja", "returned"): "返送",
}


async def test_mails_have_distinct_message_ids(shop: RunningShop):
    orders = [shop.guest.order(("plenty", 1), email=new_address()) for _ in range(5)]
    for order in orders:
        await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    ids = [mail["Message-ID"] for order in orders for mail in shop.mail.mails(order["email"])]
    assert len(ids) == len(set(ids)) == 15


async def test_product_names_are_escaped_in_html(shop: RunningShop):
    product = {"productId": "odd", "name": "<b>Odd</b> & even", "price": 1000, "stock": 5}
    shop.admin.post("inventory", "/products", product)
    await eventually(lambda: shop.is_for_sale("odd"))
    order = shop.guest.order(("odd", 1), email=new_address())
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert "&lt;b&gt;Odd&lt;/b&gt; &amp; even" in text_of(mail, "html")
        assert "<b>Odd</b> & even" in text_of(mail, "plain")


async def test_mails_without_recipient_are_skipped(shop: RunningShop):
    order = shop.guest.order(("plenty", 1))
    await shop.until(order["orderId"], "COMPLETED")

    def skipped() -> bool:
        return [item["status"] for item in notifications_of(shop, order)] == ["SKIPPED"] * 3

    await eventually(skipped, 30)


async def test_customer_gets_mails_and_resent_mail(shop: RunningShop, aiko: ShopClient):
    accepted(aiko.put("order", "/auth/me", {"locale": "ja"}), 200)
    order = aiko.order(("plenty", 1)) | {"email": aiko.email}
    mails = await mails_of(shop, order, "confirmation", "dispatched", "delivered")
    for mail in mails.values():
        assert_written_in(mail, "ja", order)
    first = mails["delivered"]["Message-ID"].strip("<>").partition("@")[0]
    again = shop.admin.post("notifier", f"/notifications/{first}/resend", None)
    assert (again.status_code, again.json()["resendOf"]) == (202, first)
    resent = again.json()["notificationId"]
    mail = await eventually(lambda: mail_with(shop, aiko.email, resent))
    assert text_of(mail, "plain") == text_of(mails["delivered"], "plain")
    await shop.settle()


def mail_with(shop: RunningShop, email: str, notification_id: str) -> EmailMessage | None:
    mails = [mail for mail in shop.mail.mails(email) if notification_id in mail["Message-ID"]]
    return mails[0] if mails else None


async def test_order_completes_while_mail_server_is_down(shop: RunningShop):
    shop.mail.stop()
    try:
        order = shop.guest.order(("plenty", 1), email=new_address())
        await shop.until(order["orderId"], "COMPLETED")
    finally:
        shop.mail.start()
    await mails_of(shop, order, "confirmation", "dispatched", "delivered")
