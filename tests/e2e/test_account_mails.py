"""Links in mails, through the whole shop: from the request over the mail to the page."""

import re
from collections.abc import AsyncIterator
from email.message import EmailMessage
from uuid import uuid4

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import PASSWORD, ShopClient, accepted, rejected

NEW_PASSWORD = "another horse"


async def mail_to(shop: RunningShop, email: str, subject: str) -> EmailMessage:
    def arrived() -> EmailMessage | None:
        mails = [mail for mail in shop.mail.mails(email) if mail["Subject"] == subject]
        assert len(mails) <= 1
        return mails[0] if mails else None

    return await eventually(arrived, 30)


def link_in(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    (url,) = re.findall(r"http://\S+\?link=\S+", part.get_content())
    return str(url)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A browser, without an account."""
    async with httpx.AsyncClient() as client:
        yield client


async def test_password_is_reset_by_mail(
    shop: RunningShop, aiko: ShopClient, http: httpx.AsyncClient
):
    accepted(shop.guest.post("order", "/auth/password-reset", {"email": aiko.email}), 202)
    url = link_in(await mail_to(shop, aiko.email, "Set another password"))
    page = await http.get(url)
    assert page.status_code == 200
    (link,) = re.findall(r'name="link" value="([^"]+)"', page.text)
    form = {"link": link, "password": NEW_PASSWORD, "repeated": NEW_PASSWORD}
    origin = url.partition("/account")[0]
    foreign = await http.post(url, data=form, headers={"Origin": "https://evil.example"})
    rejected(foreign, 403, "foreign-origin")
    done = await http.post(url.partition("?")[0], data=form, headers={"Origin": origin})
    assert done.status_code == 200, done.text
    await mail_to(shop, aiko.email, "Your password was changed")
    for service, path in (("order", "/auth/me"), ("read", "/orders"), ("order", "/cart")):
        await eventually(lambda s=service, p=path: aiko.get(s, p).status_code == 401)
    wrong = shop.guest.post("order", "/auth/login", {"email": aiko.email, "password": PASSWORD})
    rejected(wrong, 401, "bad-credentials")
    assert shop.guest.login(aiko.email, NEW_PASSWORD)["accessToken"]
    again = await http.post(url.partition("?")[0], data=form)
    assert again.status_code == 403


async def test_address_is_verified_and_changed_by_mail(shop: RunningShop, aiko: ShopClient):
    url = link_in(await mail_to(shop, aiko.email, "Verify your e-mail address"))
    link = url.partition("?link=")[2]
    verified = shop.guest.post("order", "/auth/email-verification/confirm", {"link": link})
    assert verified.status_code == 204
    assert aiko.show("order", "/auth/me")["emailVerified"]
    moved = f"{uuid4().hex}@example.com"
    change = {"email": moved, "currentPassword": PASSWORD}
    assert not accepted(aiko.put("order", "/auth/me", change), 200)["emailVerified"]
    notice = await mail_to(shop, aiko.email, "Your account has another e-mail address")
    assert moved in notice.get_body(("plain",)).get_content()
    await mail_to(shop, moved, "Verify your e-mail address")
    await eventually(lambda: aiko.get("read", "/orders").status_code == 401)


async def test_links_of_mails_are_in_no_event(shop: RunningShop, aiko: ShopClient):
    accepted(shop.guest.post("order", "/auth/password-reset", {"email": aiko.email}), 202)
    url = link_in(await mail_to(shop, aiko.email, "Set another password"))
    types = await eventually(lambda: sent_to(shop, aiko.user_id))
    assert types.count("PasswordResetRequested") == 1
    events = shop.admin.get("read", "/events", key=aiko.user_id, limit=100).text
    link = url.partition("?link=")[2]
    signature = link.rpartition(".")[2]
    logs = "".join(path.read_text() for path in shop.data_dir.glob("**/*.log"))
    for written in (events, logs, *databases(shop)):
        assert signature not in written
    assert aiko.email in events


def sent_to(shop: RunningShop, user_id: str) -> list[str] | None:
    items = shop.admin.show("read", "/events", key=user_id, limit=100)["items"]
    types = [item["type"] for item in items]
    return types if types.count("AccountMailSent") == 2 else None


def databases(shop: RunningShop) -> list[str]:
    files = [*shop.data_dir.glob("*.db"), *shop.data_dir.glob("*.db-wal")]
    assert len(files) >= 5
    return [path.read_bytes().decode("latin-1") for path in files]
