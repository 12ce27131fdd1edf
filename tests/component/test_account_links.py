"""Password resets, verified addresses and roles of the order service over HTTP; the test signs links as the notifier does."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from msgspec.structs import replace

from shared.chassis.http.links import MAX_LENGTH, Purpose, sign
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.clock import now
from shared.chassis.messages.identity_events import LinkKeyPublished
from shared.settings import ShopSettings
from tests.support.broker import NatsServer
from tests.support.chassis import publishing
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.order_client import PASSWORD, Json, OrderClient, open_order_service, problem_of
from tests.support.settings import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_PASSWORD = "open sesame"
NEW_PASSWORD = "another horse"
SIGNER = TokenSigner.generate()
SOON = timedelta(minutes=5)
UNLIMITED = "registrations_per_address=off,reset_requests_per_address=off,link_uses_per_address=off"
RESET, CONFIRM = "/auth/password-reset", "/auth/password-reset/confirm"
VERIFY = "/auth/email-verification/confirm"

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ShopSettings]:
    directory = tmp_path_factory.mktemp("links")
    broker = NatsServer(directory / "nats")
    broker.start()
    yield settings_for(directory, broker.url, admin_password=ADMIN_PASSWORD, rate_limits=UNLIMITED)
    broker.terminate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: ShopSettings) -> AsyncIterator[OrderClient]:
    async with open_order_service(settings) as client, publishing(settings) as broker:
        key = LinkKeyPublished(key_id=SIGNER.key_id, public_key=SIGNER.public_key)
        await broker.publish([recorded(key, position=1)])
        await eventually(lambda: rows_of(settings, "SELECT * FROM link_key"))
        yield client


@pytest.fixture
def email() -> str:
    """An unused address."""
    return f"customer{next(_numbers)}@example.com"


def rows_of(settings: ShopSettings, query: str, *values: str) -> list[Any]:
    with closing(sqlite3.connect(settings.data_dir / "order.db")) as connection:
        return connection.execute(query, values).fetchall()


def requests_of(settings: ShopSettings, email: str, event_type: str) -> list[str]:
    """What links of these requests are about, oldest first."""
    query = """SELECT data->>'userId' || '.' || (data->>'requestId') FROM event_log
               WHERE event_type = ? AND data->>'email' = ? ORDER BY position"""
    return [subject for (subject,) in rows_of(settings, query, event_type, email)]


def events_of(settings: ShopSettings, email: str) -> list[str]:
    query = """SELECT event_type FROM event_log JOIN customers ON entity_id = user_id
               WHERE email = ? ORDER BY position"""
    return [event_type for (event_type,) in rows_of(settings, query, email)]


def signed(
    subject: str,
    purpose: Purpose = Purpose.PASSWORD_RESET,
    signer: TokenSigner = SIGNER,
    validity: timedelta = SOON,
) -> str:
    return sign(signer, purpose, subject, now() + validity)


async def ask_reset(client: OrderClient, email: str, **options: Any) -> httpx.Response:
    return await client.ask("POST", RESET, {"email": email}, **options)


async def reset_link(client: OrderClient, settings: ShopSettings, email: str) -> str:
    """The link of a new request."""
    before = len(requests_of(settings, email, "PasswordResetRequested"))
    assert (await ask_reset(client, email)).status_code == 202
    requests = await eventually(
        lambda: requests_of(settings, email, "PasswordResetRequested")[before:]
    )
    return signed(requests[0])


def verification_link(settings: ShopSettings, email: str) -> str:
    """The link of the newest request."""
    subject = requests_of(settings, email, "EmailVerificationRequested")[-1]
    return signed(subject, Purpose.EMAIL_VERIFICATION)


async def confirm(client: OrderClient, link: str, password: str = NEW_PASSWORD) -> httpx.Response:
    return await client.ask("POST", CONFIRM, {"link": link, "newPassword": password})


async def verify(client: OrderClient, link: str) -> httpx.Response:
    return await client.ask("POST", VERIFY, {"link": link})


async def me(client: OrderClient, token: str) -> httpx.Response:
    return await client.ask("GET", "/auth/me", token=token)


async def test_reset_request_answers_alike_for_any_address(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    real, unknown = [await ask_reset(client, one) for one in (email, f"no.{email}")]
    assert real.status_code == 202
    assert (unknown.status_code, unknown.content, unknown.headers) == (
        real.status_code,
        real.content,
        real.headers,
    )
    await eventually(lambda: requests_of(settings, email, "PasswordResetRequested"))
    assert rows_of(settings, "SELECT * FROM event_log WHERE data LIKE ?", f"%no.{email}%") == []


async def test_reset_requests_are_limited_alike(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    details = []
    for one in (email, f"no.{email}"):
        assert [(await ask_reset(client, one)).status_code for _ in range(3)] == [202] * 3
        plus = one.replace("@", "+again@")  # delivers to the same mailbox
        problem = problem_of(await ask_reset(client, plus), 429, "too-many-requests")
        details.append(problem["detail"].partition(";")[0])
    assert details[0] == details[1]
    elsewhere = await ask_reset(client, email, address="192.0.2.77")
    problem_of(elsewhere, 429, "too-many-requests")


async def test_reset_requests_of_one_address_are_limited(
    settings: ShopSettings, tmp_path: Path, broker_url: str
):
    own = replace(settings, rate_limits="", data_dir=tmp_path, nats_url=broker_url)
    async with open_order_service(own) as client:
        answers = [await ask_reset(client, f"x{number}@example.com") for number in range(21)]
        assert [answer.status_code for answer in answers] == [202] * 20 + [429]
        other = await ask_reset(client, "x21@example.com", address="192.0.2.2")
        assert other.status_code == 202


async def test_uses_of_links_are_limited(settings: ShopSettings, tmp_path: Path, broker_url: str):
    own = replace(
        settings, rate_limits="link_uses_per_address=3/hour", data_dir=tmp_path, nats_url=broker_url
    )
    async with open_order_service(own) as client:
        answers = [await confirm(client, "x") for _ in range(2)] + [
            await verify(client, "x") for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [403] * 3 + [429]


async def test_reset_ends_everything_of_old_password(
    client: OrderClient, settings: ShopSettings, email: str
):
    tokens = await client.register_and_sign_in(email)
    link = await reset_link(client, settings, email)
    assert (await me(client, tokens["accessToken"])).status_code == 200
    assert (await confirm(client, link)).status_code == 204
    problem_of(await client.login(email), 401, "bad-credentials")
    problem_of(await me(client, tokens["accessToken"]), 401, "unauthorized")
    problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")
    token = (await client.sign_in(email, NEW_PASSWORD))["accessToken"]
    assert (await me(client, token)).json()["emailVerified"]
    assert events_of(settings, email)[-3:] == [
        "CustomerEmailVerified",
        "CustomerPasswordChanged",
        "TokensRevoked",
    ]


async def test_used_link_is_refused(client: OrderClient, settings: ShopSettings, email: str):
    await client.register(email)
    links = [await reset_link(client, settings, email) for _ in range(2)]
    assert (await confirm(client, links[0])).status_code == 204
    number = len(events_of(settings, email))
    for link in links:  # the other one too: it was sent because of the lost password
        problem_of(await confirm(client, link, "third horse!"), 403, "bad-link")
    assert len(events_of(settings, email)) == number
    await client.sign_in(email, NEW_PASSWORD)


async def test_concurrent_uses_of_a_link_count_once(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    link = await reset_link(client, settings, email)
    passwords = [f"horse number {number}" for number in range(8)]
    answers = await asyncio.gather(*(confirm(client, link, password) for password in passwords))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [204] + [403] * 7
    await client.sign_in(email, passwords[statuses.index(204)])
    assert events_of(settings, email).count("TokensRevoked") == 1


async def test_unusable_reset_links_are_refused_alike(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    await client.register(f"other.{email}")
    good = await reset_link(client, settings, email)
    (subject,) = requests_of(settings, email, "PasswordResetRequested")
    other = requests_of(settings, f"other.{email}", "EmailVerificationRequested")[0]
    verification = requests_of(settings, email, "EmailVerificationRequested")[0]
    links = {
        "expired": signed(subject, validity=timedelta(seconds=-1)),
        "of another purpose": signed(subject, Purpose.EMAIL_VERIFICATION),
        "of another purpose's request": signed(verification),
        "of an order": signed(subject, Purpose.ORDER),
        "with another key": signed(subject, signer=TokenSigner.generate()),
        "of no request": signed(subject.partition(".")[0] + ".none"),
        "of another customer": signed(other.partition(".")[0] + "." + subject.partition(".")[2]),
        "of nobody": signed("nobody." + subject.partition(".")[2]),
        "of nothing": signed(""),
        "malformed": "a.b.c",
        "unsigned": good.rpartition(".")[0] + ".",
    }
    answers = {
        name: problem_of(await confirm(client, link), 403, "bad-link")["detail"]
        for name, link in links.items()
    }
    assert len(set(answers.values())) == 1, answers
    problem_of(await confirm(client, "x" * (MAX_LENGTH + 1)), 400, "invalid-request")
    assert (await confirm(client, good)).status_code == 204


async def test_expired_request_is_refused_despite_its_link(
    client: OrderClient, settings: ShopSettings, email: str, monkeypatch: pytest.MonkeyPatch
):
    """The link is signed for longer than its request lasts."""
    await client.register(email)
    monkeypatch.setattr("order_service.accounts.mailed_links.RESET_VALIDITY", timedelta(seconds=-1))
    problem_of(await confirm(client, await reset_link(client, settings, email)), 403, "bad-link")


async def test_weak_password_does_not_use_the_link(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    link = await reset_link(client, settings, email)
    for weak in ("short", "password1", email):
        problem = problem_of(await confirm(client, link, weak), 400, "invalid-request")
        assert [error["field"] for error in problem["errors"]] == ["newPassword"]
    assert (await confirm(client, link)).status_code == 204


async def test_link_outlives_a_restart(settings: ShopSettings, tmp_path: Path, broker_url: str):
    own = replace(settings, data_dir=tmp_path, nats_url=broker_url)
    email = "jane@example.com"
    async with open_order_service(own) as client, publishing(own) as broker:
        key = LinkKeyPublished(key_id=SIGNER.key_id, public_key=SIGNER.public_key)
        await broker.publish([recorded(key, position=1)])
        await eventually(lambda: rows_of(own, "SELECT * FROM link_key"))
        await client.register(email)
        link = await reset_link(client, own, email)
    async with open_order_service(own) as client:
        assert (await confirm(client, link)).status_code == 204
    async with open_order_service(own) as client:
        problem_of(await confirm(client, link), 403, "bad-link")


async def test_links_and_passwords_are_nowhere_in_clear(
    client: OrderClient, settings: ShopSettings, email: str, capsys: pytest.CaptureFixture[str]
):
    await client.register(email)
    links = [await reset_link(client, settings, email), verification_link(settings, email)]
    await verify(client, links[1])
    await confirm(client, links[0], "secret horse 1")
    for link in links:
        await confirm(client, link, "secret horse 2")
    with closing(sqlite3.connect(settings.data_dir / "order.db")) as connection:
        dump = "\n".join(connection.iterdump())
    captured = capsys.readouterr()
    written = dump + captured.out + captured.err
    assert email in written
    signatures = [link.rpartition(".")[2] for link in links]
    for secret in (*links, *signatures, "secret horse 1", "secret horse 2"):
        assert secret not in written


async def test_address_is_verified_once(client: OrderClient, settings: ShopSettings, email: str):
    token = (await client.register_and_sign_in(email))["accessToken"]
    assert not (await me(client, token)).json()["emailVerified"]
    link = verification_link(settings, email)
    assert (await verify(client, link)).status_code == 204
    assert (await me(client, token)).json()["emailVerified"]
    problem_of(await verify(client, link), 403, "bad-link")
    again = await client.ask("POST", "/auth/email-verification", token=token)
    assert again.status_code == 202
    assert len(requests_of(settings, email, "EmailVerificationRequested")) == 1


async def test_verification_is_sent_again_within_limits(
    client: OrderClient, settings: ShopSettings, email: str
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    statuses = [
        (await client.ask("POST", "/auth/email-verification", token=token)).status_code
        for _ in range(6)
    ]
    assert statuses == [202] * 5 + [429]
    problem_of(await client.ask("POST", "/auth/email-verification"), 401, "unauthorized")
    assert len(requests_of(settings, email, "EmailVerificationRequested")) == 6
    assert (await verify(client, verification_link(settings, email))).status_code == 204


async def change_email(client: OrderClient, token: str, **change: str) -> httpx.Response:
    return await client.ask("PUT", "/auth/me", change, token=token)


async def test_changed_address_needs_password_and_ends_sessions(
    client: OrderClient, settings: ShopSettings, email: str
):
    tokens = await client.register_and_sign_in(email)
    token, moved = tokens["accessToken"], f"new.{email}"
    problem = problem_of(await change_email(client, token, email=moved), 403, "bad-credentials")
    assert "currentPassword" in problem["detail"]
    wrong = await change_email(client, token, email=moved, currentPassword="wrong horse")
    problem_of(wrong, 403, "bad-credentials")
    assert (await me(client, token)).json()["email"] == email
    old_link = await reset_link(client, settings, email)
    changed = await change_email(client, token, email=moved, currentPassword=PASSWORD)
    assert (changed.status_code, changed.json()["emailVerified"]) == (200, False)
    problem_of(await me(client, token), 401, "unauthorized")
    problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")
    problem_of(await confirm(client, old_link), 403, "bad-link")
    problem_of(await client.login(email), 401, "bad-credentials")
    await client.sign_in(moved)
    assert "CustomerEmailChanged" in events_of(settings, moved)
    assert (await verify(client, verification_link(settings, moved))).status_code == 204


async def test_verification_link_of_previous_address_is_refused(
    client: OrderClient, settings: ShopSettings, email: str
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    link = verification_link(settings, email)
    await change_email(client, token, email=f"new.{email}", currentPassword=PASSWORD)
    problem_of(await verify(client, link), 403, "bad-link")
    token = (await client.sign_in(f"new.{email}"))["accessToken"]
    assert not (await me(client, token)).json()["emailVerified"]


async def test_password_guesses_by_address_change_are_limited(
    client: OrderClient, settings: ShopSettings, email: str
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    guesses = [
        await change_email(client, token, email=f"x.{email}", currentPassword=f"guess {number}")
        for number in range(11)
    ]
    assert [guess.status_code for guess in guesses] == [403] * 10 + [429]


@pytest_asyncio.fixture(loop_scope="module")
async def admin(client: OrderClient) -> str:
    """The admin's token."""
    tokens = await client.sign_in("admin@example.com", ADMIN_PASSWORD)
    token: str = tokens["accessToken"]
    return token


async def give(
    client: OrderClient, token: str, email: str, role: str, **fields: bool
) -> httpx.Response:
    body: Json = {"email": email, "role": role, **fields}
    return await client.ask("PUT", "/auth/roles", body, token=token)


async def staff(client: OrderClient, token: str) -> dict[str, str]:
    answer = await client.ask("GET", "/auth/roles", token=token)
    assert answer.status_code == 200, answer.text
    return {item["email"]: item["role"] for item in answer.json()["items"]}


async def test_role_is_given_and_taken_at_once(
    client: OrderClient, settings: ShopSettings, admin: str, email: str
):
    tokens = await client.register_and_sign_in(email)
    problem_of(await give(client, admin, email, "operator"), 409, "email-not-verified")
    await verify(client, verification_link(settings, email))
    assert (await give(client, admin, email.upper(), "operator")).json()["role"] == "operator"
    assert (await staff(client, admin))[email] == "operator"
    problem_of(await me(client, tokens["accessToken"]), 401, "unauthorized")
    tokens = (await client.refresh(tokens["refreshToken"])).json()
    assert (await client.ask("GET", "/tasks", token=tokens["accessToken"])).status_code == 200
    forbidden = await client.ask("GET", "/auth/roles", token=tokens["accessToken"])
    problem_of(forbidden, 403, "forbidden")
    assert (await give(client, admin, email, "customer")).status_code == 200
    problem_of(await client.ask("GET", "/tasks", token=tokens["accessToken"]), 401, "unauthorized")
    tokens = (await client.refresh(tokens["refreshToken"])).json()
    refused = await client.ask("GET", "/tasks", token=tokens["accessToken"])
    problem_of(refused, 403, "forbidden")
    assert email not in await staff(client, admin)


async def test_role_for_unverified_address_must_be_insisted_on(
    client: OrderClient, admin: str, email: str
):
    await client.register(email)
    problem_of(await give(client, admin, email, "admin"), 409, "email-not-verified")
    given = await give(client, admin, email, "admin", evenIfUnverified=True)
    assert given.json()["role"] == "admin"
    token = (await client.sign_in(email))["accessToken"]
    assert (await staff(client, token))["admin@example.com"] == "admin"
    problem_of(await give(client, token, email, "customer"), 409, "own-role")
    assert (await give(client, admin, email, "customer")).status_code == 200
    problem_of(await give(client, token, email, "admin"), 401, "unauthorized")


async def test_role_of_unknown_address_is_not_found(client: OrderClient, admin: str, email: str):
    problem_of(await give(client, admin, email, "operator"), 404, "unknown-customer")
    problem_of(await give(client, admin, email, "king"), 400, "invalid-request")
    problem_of(await give(client, "", email, "operator"), 401, "unauthorized")


async def page(
    client: OrderClient, method: str, path: str, form: Json | None = None, **headers: str
) -> httpx.Response:
    transport = httpx.ASGITransport(client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://order") as http:
        return await http.request(method, f"/account/{path}", data=form, headers=headers)


def assert_page(response: httpx.Response, status: int, *texts: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("text/html")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy + response.text
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert [text for text in texts if text not in response.text] == []


async def test_reset_page_sets_the_password_once(
    client: OrderClient, settings: ShopSettings, email: str
):
    await client.register(email)
    link = await reset_link(client, settings, email)
    for _ in range(2):  # opening it uses nothing
        opened = await page(client, "GET", f"reset-password?link={link}")
        assert_page(opened, 200, link, 'type="password"')
    form = {"link": link, "password": NEW_PASSWORD, "repeated": NEW_PASSWORD}
    for wrong in ({"repeated": "other horse"}, {"password": "short", "repeated": "short"}):
        assert_page(await page(client, "POST", "reset-password", form | wrong), 400, "alert", link)
    weak = {"password": "password1", "repeated": "password1"}
    assert_page(await page(client, "POST", "reset-password", form | weak), 400, "alert")
    assert_page(await page(client, "POST", "reset-password", form), 200, "Your password is set")
    await client.sign_in(email, NEW_PASSWORD)
    again = await page(client, "POST", "reset-password", form)
    assert_page(again, 403, "This link is invalid")
    assert "<form" not in again.text
    assert_page(await page(client, "GET", f"reset-password?link={link}"), 403, "invalid")


async def test_verification_page_verifies_once(
    client: OrderClient, settings: ShopSettings, email: str
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    link = verification_link(settings, email)
    opened = await page(client, "GET", f"verify-email?link={link}", **{"Accept-Language": "ja-JP"})
    assert_page(opened, 200, 'lang="ja"', "確認する")
    assert not (await me(client, token)).json()["emailVerified"]
    assert_page(await page(client, "POST", "verify-email", {"link": link}), 200, "Thank you")
    assert (await me(client, token)).json()["emailVerified"]
    assert_page(await page(client, "POST", "verify-email", {"link": link}), 403, "invalid")


@pytest.mark.parametrize("path", ["reset-password", "verify-email"])
async def test_pages_escape_what_they_are_sent(client: OrderClient, path: str):
    hostile = '"><script>alert(1)</script>'
    assert_page(await page(client, "GET", f"{path}?link={hostile}"), 403, "invalid")
    form = {"link": hostile, "password": "x", "repeated": "y"}
    for response in (
        await page(client, "POST", path, form),
        await page(client, "POST", path, {}),
        await page(client, "POST", path, dict.fromkeys("abcdefgh", "x")),
    ):
        assert response.status_code in {400, 403}
        assert "<script" not in response.text
