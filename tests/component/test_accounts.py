"""Registration, sign-in and sign-out on a real database."""

import asyncio
import hashlib
import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from msgspec.structs import replace

from order_service.accounts.tokens import ACCESS_SECONDS
from shared.chassis.http.auth import AUDIENCE, ISSUER
from shared.chassis.http.rate_limits import DAY
from shared.chassis.messages.clock import now
from shared.settings import ShopSettings
from tests.support.addresses import ADDRESS_BODY
from tests.support.broker import NatsServer
from tests.support.eventually import eventually
from tests.support.order_client import PASSWORD, OrderClient, open_order_service, problem_of
from tests.support.settings import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_PASSWORD = "open sesame"
RATE_LIMITS = (
    "registrations_per_address=off,"
    "sign_in_failures_per_account_and_address=3/day,"
    "sign_in_failures_per_address=20/day,"
    "sign_in_failures_per_account=6/day,"
    "refreshes_per_session=10/day"
)

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ShopSettings]:
    directory = tmp_path_factory.mktemp("accounts")
    broker = NatsServer(directory / "nats")
    broker.start()
    yield settings_for(
        directory,
        broker.url,
        admin_password=ADMIN_PASSWORD,
        rate_limits=RATE_LIMITS,
        log_format="json",
    )
    broker.terminate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(shop: ShopSettings) -> AsyncIterator[OrderClient]:
    async with open_order_service(shop) as client:
        yield client


@pytest.fixture
def apart(shop: ShopSettings, tmp_path: Path, broker_url: str) -> ShopSettings:
    """A shop whose order service has another database, and so another broker."""
    return replace(shop, data_dir=tmp_path, nats_url=broker_url)


@pytest.fixture
def email() -> str:
    """An unused address."""
    return f"customer{next(_numbers)}@example.com"


def key_of(email: str) -> str:
    return f"a long key of {email}"


def end_grace(database: Path) -> None:
    """As if every refresh had been a minute ago."""
    with closing(sqlite3.connect(database)) as connection:
        moment = (now() - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
        connection.execute("UPDATE sessions SET used_at = ?", (moment,))
        connection.commit()


def sessions_of(shop: ShopSettings, email: str) -> int:
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        query = "SELECT count(*) FROM sessions JOIN customers USING (user_id) WHERE email = ?"
        number: int = connection.execute(query, (email,)).fetchone()[0]
    return number


def dump_of(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump())


async def test_registration_answer_contains_no_secret(client: OrderClient, email: str):
    response = await client.register(email, name="Aiko", locale="ja")
    assert response.status_code == 201
    customer = response.json()
    assert {name: customer[name] for name in ("email", "name", "locale", "role")} == {
        "email": email,
        "name": "Aiko",
        "locale": "ja",
        "role": "customer",
    }
    assert "assword" not in response.text


async def test_address_is_registered_once_in_any_case(client: OrderClient, email: str):
    await client.register(email)
    problem_of(await client.register(email), 409, "email-taken")
    problem_of(await client.register(email.upper()), 409, "email-taken")
    assert (await client.login(email.title())).status_code == 200


async def test_concurrent_registrations_create_one_account(client: OrderClient, email: str):
    answers = await asyncio.gather(
        *(client.register(email, password=f"password {n}") for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    (winner,) = [n for n, answer in enumerate(answers) if answer.status_code == 201]
    await client.sign_in(email, f"password {winner}")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257])
async def test_password_outside_length_bounds_is_refused(
    client: OrderClient, email: str, password: str
):
    problem = problem_of(await client.register(email, password), 400, "invalid-request")
    assert problem["errors"][0]["field"] == "password"
    assert password == "" or password not in problem["detail"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@example.com",
        "nobody@",
        "a@b@c",
        "a b@example.com",
        "a@example.com\n",
        "a@example.com\r\nBcc: eve@example.com",
        "a\x00@example.com",
        "a@exa\x1bmple.com",
        "Aiko <a@example.com>",
        "a@example.com,eve@example.com",
        "x" * 250 + "@example.com",
        "a\u200b@example.com",
        "a@example.com.",
        "a@exam\x85ple.com",
        "a@-example.com",
    ],
)
async def test_invalid_address_is_refused(client: OrderClient, address: str):
    problem = problem_of(await client.register(address), 400, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["email"]


async def test_registration_cannot_set_a_role(client: OrderClient, email: str):
    problem = problem_of(await client.register(email, role="admin"), 400, "invalid-request")
    assert problem["errors"][0] == {"field": "role", "message": "unknown field"}


async def test_registration_with_same_key_is_replayed(client: OrderClient, email: str):
    body = {"email": email, "password": PASSWORD}
    first = await client.ask("POST", "/auth/register", body, key=key_of(email))
    again = await client.ask("POST", "/auth/register", body, key=key_of(email))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_key_with_another_password_is_refused(client: OrderClient, email: str):
    body = {"email": email, "password": PASSWORD}
    await client.ask("POST", "/auth/register", body, key=key_of(email))
    other = await client.ask(
        "POST", "/auth/register", body | {"password": "other one"}, key=key_of(email)
    )
    problem_of(other, 422, "idempotency-key-reused")


async def test_guest_key_replays_at_any_address(client: OrderClient, email: str):
    body = {"email": email, "password": PASSWORD}
    answers = [
        await client.ask("POST", "/auth/register", body, key=key_of(email), address=address)
        for address in ("192.0.2.7", "2001:db8::7")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["Idempotent-Replayed"] == "true"


async def test_short_key_of_guest_is_refused(client: OrderClient, email: str):
    body = {"email": email, "password": PASSWORD}
    refused = await client.ask("POST", "/auth/register", body, key="x" * 15)
    problem = problem_of(refused, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "Idempotency-Key"
    assert "16 to 255" in problem["errors"][0]["message"]
    token = (await client.register_and_sign_in(email))["accessToken"]
    checkout = await client.ask(
        "POST", "/cart/checkout", {"shippingAddress": ADDRESS_BODY}, token=token, key="x"
    )
    assert checkout.status_code == 422


async def test_address_in_another_spelling_is_taken(client: OrderClient, email: str):
    await client.register(email)
    wide = email.replace("c", "\uff43").replace(".", "\u3002")
    problem_of(await client.register(wide), 409, "email-taken")
    token = (await client.register_and_sign_in(f"other.{email}"))["accessToken"]
    changed = await client.ask(
        "PUT", "/auth/me", {"email": wide, "currentPassword": PASSWORD}, token=token
    )
    problem_of(changed, 409, "email-taken")
    assert (await client.login(wide)).status_code == 200


@pytest.mark.parametrize(
    "name", ["\x1b]0;owned\x07", "\x9b31m", "nam\u202ee", "http://evil.example", "a\nb"]
)
async def test_name_with_hidden_characters_is_refused(client: OrderClient, email: str, name: str):
    problem = problem_of(await client.register(email, name=name), 400, "invalid-request")
    assert problem["errors"][0]["field"] == "name"
    assert "control or hidden" in problem["errors"][0]["message"]


async def test_name_may_contain_a_joiner(client: OrderClient, email: str):
    name = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647"
    assert (await client.register(email, name=name)).json()["name"] == name


async def test_sign_in_returns_two_tokens(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    assert tokens["tokenType"] == "Bearer"
    assert tokens["expiresIn"] == ACCESS_SECONDS
    me = (await client.ask("GET", "/auth/me", token=tokens["accessToken"])).json()
    assert me["email"] == email


async def test_wrong_password_answers_like_unknown_address(client: OrderClient, email: str):
    await client.register(email)
    wrong = problem_of(await client.login(email, "wrong"), 401, "bad-credentials")
    unknown = problem_of(await client.login(f"no{email}", "wrong"), 401, "bad-credentials")
    assert wrong == unknown


async def test_sign_in_ignores_idempotency_key(client: OrderClient, email: str):
    await client.register(email)
    body = {"email": email, "password": PASSWORD}
    one, two = [await client.ask("POST", "/auth/login", body, key=key_of(email)) for _ in range(2)]
    assert one.json()["refreshToken"] != two.json()["refreshToken"]
    assert "Idempotent-Replayed" not in two.headers


async def test_refresh_token_is_exchanged_for_new_pair(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    for _ in range(3):
        response = await client.refresh(tokens["refreshToken"])
        assert response.status_code == 200
        assert response.json()["refreshToken"] != tokens["refreshToken"]
        tokens = response.json()
    assert (await client.ask("GET", "/auth/me", token=tokens["accessToken"])).status_code == 200


async def test_concurrent_refreshes_answer_the_same_pair(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    answers = await asyncio.gather(*(client.refresh(tokens["refreshToken"]) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.content for answer in answers}) == 1
    assert (await client.refresh(answers[0].json()["refreshToken"])).status_code == 200


async def test_refresh_within_grace_outlives_a_restart(apart: ShopSettings):
    async with open_order_service(apart) as client:
        tokens = await client.sign_in(apart.admin_email, ADMIN_PASSWORD)
        first = await client.refresh(tokens["refreshToken"])
    async with open_order_service(apart) as client:
        assert (await client.refresh(tokens["refreshToken"])).content == first.content


async def test_refresh_token_reused_later_ends_session(
    client: OrderClient, shop: ShopSettings, email: str
):
    tokens, elsewhere = await client.register_and_sign_in(email), await client.sign_in(email)
    newer = (await client.refresh(tokens["refreshToken"])).json()
    end_grace(shop.data_dir / "order.db")
    problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")
    problem_of(await client.refresh(newer["refreshToken"]), 401, "bad-refresh-token")
    assert (await client.refresh(elsewhere["refreshToken"])).status_code == 200


async def test_older_refresh_token_ends_session_immediately(client: OrderClient, email: str):
    oldest = await client.register_and_sign_in(email)
    older = (await client.refresh(oldest["refreshToken"])).json()
    newer = (await client.refresh(older["refreshToken"])).json()
    problem_of(await client.refresh(oldest["refreshToken"]), 401, "bad-refresh-token")
    problem_of(await client.refresh(newer["refreshToken"]), 401, "bad-refresh-token")


async def test_refreshes_keep_one_row_per_session(
    client: OrderClient, shop: ShopSettings, email: str
):
    tokens = await client.register_and_sign_in(email)
    for _ in range(5):
        tokens = (await client.refresh(tokens["refreshToken"])).json()
    assert sessions_of(shop, email) == 1


async def test_sessions_of_a_customer_are_bounded(
    client: OrderClient, shop: ShopSettings, email: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("order_service.accounts.sessions.MAX_PER_CUSTOMER", 2)
    first = await client.register_and_sign_in(email)
    later = [await client.sign_in(email) for _ in range(2)]
    assert sessions_of(shop, email) == 2
    problem_of(await client.refresh(first["refreshToken"]), 401, "bad-refresh-token")
    for tokens in later:
        assert (await client.refresh(tokens["refreshToken"])).status_code == 200


async def test_refreshes_of_one_session_are_limited(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    answers = [await client.refresh(tokens["refreshToken"]) for _ in range(11)]
    refused = problem_of(answers[-1], 429, "too-many-requests")
    assert refused["limit"] == "refreshes_per_session"
    assert 0 < int(answers[-1].headers["Retry-After"]) <= DAY
    elsewhere = await client.sign_in(email)
    assert (await client.refresh(elsewhere["refreshToken"])).status_code == 200


async def test_expired_session_is_refused_and_swept(
    client: OrderClient, shop: ShopSettings, email: str
):
    tokens = await client.register_and_sign_in(email)
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        connection.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000000Z'")
        connection.commit()
    problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")
    assert sessions_of(shop, email) == 0


async def test_unknown_customer_of_good_token_is_unauthorized(
    client: OrderClient, shop: ShopSettings, email: str
):
    tokens = await client.register_and_sign_in(email)
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        connection.execute("DELETE FROM customers WHERE email = ?", (email,))
        connection.commit()
    me = await client.ask("GET", "/auth/me", token=tokens["accessToken"])
    problem_of(me, 401, "unauthorized")
    problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")


@pytest.mark.parametrize("token", ["x", "\x00", "é" * 500])
async def test_invalid_refresh_token_is_refused(client: OrderClient, token: str):
    problem_of(await client.refresh(token), 401, "bad-refresh-token")


async def test_access_token_cannot_refresh(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    problem_of(await client.refresh(tokens["accessToken"]), 401, "bad-refresh-token")


async def test_sign_out_ends_only_its_session(client: OrderClient, email: str):
    here, elsewhere = await client.register_and_sign_in(email), await client.sign_in(email)
    for _ in range(2):
        gone = await client.ask("POST", "/auth/logout", {"refreshToken": here["refreshToken"]})
        assert (gone.status_code, gone.content) == (204, b"")
    problem_of(await client.refresh(here["refreshToken"]), 401, "bad-refresh-token")
    assert (await client.refresh(elsewhere["refreshToken"])).status_code == 200


async def test_new_password_ends_all_sessions(client: OrderClient, email: str):
    here, elsewhere = await client.register_and_sign_in(email), await client.sign_in(email)
    body = {"currentPassword": PASSWORD, "newPassword": "battery staple"}
    changed = await client.ask("PUT", "/auth/password", body, token=here["accessToken"])
    assert changed.status_code == 204
    for tokens in (here, elsewhere):
        problem_of(await client.refresh(tokens["refreshToken"]), 401, "bad-refresh-token")
    problem_of(await client.login(email), 401, "bad-credentials")
    await client.sign_in(email, "battery staple")


async def test_password_change_requires_current_password(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    body = {"currentPassword": "a guess", "newPassword": "battery staple"}
    refused = await client.ask("PUT", "/auth/password", body, token=tokens["accessToken"])
    problem_of(refused, 403, "bad-credentials")
    await client.sign_in(email)
    assert (await client.refresh(tokens["refreshToken"])).status_code == 200


async def test_weak_new_password_is_refused(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    body = {"currentPassword": PASSWORD, "newPassword": "short"}
    refused = await client.ask("PUT", "/auth/password", body, token=tokens["accessToken"])
    problem_of(refused, 400, "invalid-request")


async def test_customer_changes_own_profile(client: OrderClient, email: str):
    token = (await client.register_and_sign_in(email))["accessToken"]
    moved = f"new.{email}"
    names = {"name": "Aiko", "locale": "ja"}
    changed = await client.ask("PUT", "/auth/me", names | {"email": email.upper()}, token=token)
    assert changed.status_code == 200
    me = (await client.ask("GET", "/auth/me", token=token)).json()
    assert me == changed.json()
    assert (me["email"], me["name"], me["locale"]) == (email, "Aiko", "ja")
    change = {"email": moved.upper(), "name": "Ai", "currentPassword": PASSWORD}
    changed = await client.ask("PUT", "/auth/me", change, token=token)
    assert changed.status_code == 200
    token = (await client.sign_in(moved))["accessToken"]
    me = (await client.ask("GET", "/auth/me", token=token)).json()
    assert me == changed.json()
    assert (me["email"], me["name"], me["locale"]) == (moved, "Ai", "ja")
    problem_of(await client.login(email), 401, "bad-credentials")


async def test_profile_update_to_taken_address_is_refused(client: OrderClient, email: str):
    await client.register(f"other.{email}")
    token = (await client.register_and_sign_in(email))["accessToken"]
    change = {"email": f"other.{email}", "currentPassword": PASSWORD}
    problem_of(await client.ask("PUT", "/auth/me", change, token=token), 409, "email-taken")


async def test_profile_update_cannot_change_role(client: OrderClient, email: str):
    token = (await client.register_and_sign_in(email))["accessToken"]
    change = {"role": "admin"}
    problem_of(await client.ask("PUT", "/auth/me", change, token=token), 400, "invalid-request")


async def test_token_verifies_with_published_key(client: OrderClient, email: str):
    token = (await client.register_and_sign_in(email))["accessToken"]
    jwks = (await client.ask("GET", "/.well-known/jwks.json")).json()
    header = jwt.get_unverified_header(token)
    (jwk,) = [key for key in jwks["keys"] if key["kid"] == header["kid"]]
    key = jwt.PyJWK(jwk)
    claims = jwt.decode(token, key, algorithms=["EdDSA"], issuer=ISSUER, audience=AUDIENCE)
    assert claims["role"] == "customer"
    assert 0 < claims["exp"] - now().timestamp() <= ACCESS_SECONDS


async def test_published_keys_contain_no_private_key(client: OrderClient):
    jwks = (await client.ask("GET", "/.well-known/jwks.json")).json()
    assert all("d" not in key for key in jwks["keys"])


async def test_wrong_passwords_elsewhere_do_not_lock_out(client: OrderClient, email: str):
    await client.register(email)
    for _ in range(3):
        wrong = await client.login(email, "wrong", address="198.51.100.1")
        problem_of(wrong, 401, "bad-credentials")
    for spelling in (email, email.upper()):
        refused = await client.login(spelling, address="198.51.100.1")
        problem_of(refused, 429, "too-many-attempts")
        assert 0 < int(refused.headers["Retry-After"]) <= DAY
    assert (await client.login(email, address="198.51.100.99")).status_code == 200


async def test_owner_signs_in_while_account_is_attacked(client: OrderClient, email: str):
    await client.register(email)
    assert (await client.login(email, address="198.51.100.200")).status_code == 200
    for number in range(6):
        await client.login(email, "wrong", address=f"203.0.113.{number}")
    elsewhere = await client.login(email, address="203.0.113.99")
    problem_of(elsewhere, 429, "too-many-attempts")
    assert (await client.login(email, address="198.51.100.200")).status_code == 200


async def test_refresh_makes_an_address_trusted(client: OrderClient, email: str):
    tokens = await client.register_and_sign_in(email)
    body = {"refreshToken": tokens["refreshToken"]}
    await client.ask("POST", "/auth/refresh", body, address="198.51.100.201")
    for number in range(6):
        await client.login(email, "wrong", address=f"203.0.113.{100 + number}")
    assert (await client.login(email, address="198.51.100.201")).status_code == 200


async def test_addresses_of_one_ipv6_network_share_limit(client: OrderClient, email: str):
    await client.register(email)
    for number in range(3):
        wrong = await client.login(email, "wrong", address=f"2001:db8:1:2::{number}")
        problem_of(wrong, 401, "bad-credentials")
    refused = await client.login(email, address="2001:db8:1:2:ffff::1")
    problem_of(refused, 429, "too-many-attempts")
    assert (await client.login(email, address="2001:db8:1:3::1")).status_code == 200


async def test_failed_sign_ins_do_not_limit_other_accounts(client: OrderClient, email: str):
    await client.register(email)
    for _ in range(4):
        await client.login(f"no{email}", "wrong", address="198.51.100.7")
    assert (await client.login(email, address="198.51.100.7")).status_code == 200


async def test_successful_sign_in_resets_failures(client: OrderClient, email: str):
    await client.register(email)
    for _ in range(2):
        for _ in range(2):
            await client.login(email, "wrong")
        await client.sign_in(email)


async def test_failed_sign_ins_per_address_are_limited(client: OrderClient):
    for number in range(20):
        wrong = await client.login(f"nobody{number}@example.com", "x", address="203.0.113.201")
        problem_of(wrong, 401, "bad-credentials")
    refused = await client.login("nobody21@example.com", "x", address="203.0.113.201")
    problem_of(refused, 429, "too-many-attempts")
    elsewhere = await client.login("nobody21@example.com", "x", address="203.0.113.202")
    problem_of(elsewhere, 401, "bad-credentials")


async def test_guesses_of_current_password_are_limited(client: OrderClient, email: str):
    token = (await client.register_and_sign_in(email))["accessToken"]
    body = {"currentPassword": "a guess", "newPassword": "battery staple"}
    answers = [await client.ask("PUT", "/auth/password", body, token=token) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [403] * 3 + [429]


async def test_first_admin_password_is_in_private_file(
    apart: ShopSettings, capsys: pytest.CaptureFixture[str]
):
    own = replace(apart, admin_password=None)
    file = own.data_dir / "admin-password"
    async with open_order_service(own) as client:
        password = file.read_text().strip()
        assert file.stat().st_mode & 0o777 == 0o600
        tokens = await client.sign_in(own.admin_email, password)
        me = await client.ask("GET", "/auth/me", token=tokens["accessToken"])
        assert me.json()["role"] == "admin"
    file.unlink()
    async with open_order_service(own) as client:
        await client.sign_in(own.admin_email, password)
    assert not file.exists()
    logged = capsys.readouterr().out
    assert password not in logged
    assert str(file) in logged


async def test_configured_admin_password_is_used_and_not_logged(
    apart: ShopSettings, capsys: pytest.CaptureFixture[str]
):
    own = replace(apart, admin_email="Boss@Example.com")
    async with open_order_service(own) as client:
        await client.sign_in("boss@example.com", ADMIN_PASSWORD)
    assert ADMIN_PASSWORD not in capsys.readouterr().out


async def test_ignored_admin_password_is_warned_of(
    apart: ShopSettings, capsys: pytest.CaptureFixture[str]
):
    async def warnings(settings: ShopSettings) -> list[str]:
        async with open_order_service(settings) as client:
            ready = await client.ask("GET", "/health/ready")
            return [text for text in ready.json()["warnings"] if "ADMIN_PASSWORD" in text]

    assert await warnings(apart) == []
    assert await warnings(apart) == []
    assert await warnings(replace(apart, admin_password=None)) == []
    assert "admin_password.ignored" not in capsys.readouterr().out
    (warning,) = await warnings(replace(apart, admin_password="another one"))
    assert "quadrille admin password" in warning
    output = capsys.readouterr().out
    assert "admin_password.ignored" in output
    assert "another one" not in output


async def test_restart_creates_no_second_admin(apart: ShopSettings, tmp_path: Path):
    async with open_order_service(apart) as client:
        token = (await client.sign_in(apart.admin_email, ADMIN_PASSWORD))["accessToken"]
        change = {"email": "moved@example.com", "currentPassword": ADMIN_PASSWORD}
        assert (await client.ask("PUT", "/auth/me", change, token=token)).status_code == 200
        token = (await client.sign_in("moved@example.com", ADMIN_PASSWORD))["accessToken"]
    async with open_order_service(replace(apart, admin_password="another one")) as client:
        problem_of(await client.login(apart.admin_email, "another one"), 401, "bad-credentials")
        assert (await client.ask("GET", "/auth/me", token=token)).status_code == 200
    with closing(sqlite3.connect(tmp_path / "order.db")) as connection:
        roles = connection.execute("SELECT role FROM customers").fetchall()
    assert roles == [("admin",)]


async def test_secrets_are_neither_logged_nor_stored(
    client: OrderClient, shop: ShopSettings, email: str, capsys: pytest.CaptureFixture[str]
):
    body = {"email": email, "password": "hunter2 hunter2"}
    await client.ask("POST", "/auth/register", body, key=key_of(email))
    tokens = await client.sign_in(email, body["password"])
    await client.login(email, "hunter3 hunter3")
    newer = (await client.refresh(tokens["refreshToken"])).json()
    change = {"currentPassword": "hunter2 hunter2", "newPassword": "hunter4 hunter4"}
    await client.ask("PUT", "/auth/password", change, token=tokens["accessToken"], key="change")
    captured = capsys.readouterr()
    seen = dump_of(shop.data_dir / "order.db") + captured.out + captured.err
    assert key_of(email) in seen
    secrets = [
        *(f"hunter{number}" for number in (2, 3, 4)),
        *(pair[name] for pair in (tokens, newer) for name in ("accessToken", "refreshToken")),
    ]
    assert [secret for secret in secrets if secret in seen] == []


async def test_idempotency_fingerprint_does_not_expose_password(
    client: OrderClient, shop: ShopSettings, email: str
):
    body = {"email": email, "password": PASSWORD}
    registered = await client.ask("POST", "/auth/register", body, key=key_of(email))
    assert registered.status_code == 201
    with closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        query = "SELECT fingerprint FROM idempotency_key WHERE name LIKE ?"
        ((fingerprint,),) = connection.execute(query, (f"%{key_of(email)}",)).fetchall()
    assert fingerprint not in fast_digests(email)


def fast_digests(email: str) -> set[str]:
    """What an attacker would compare who tries passwords against a fast digest of the request."""
    body: dict[str, Any] = {"email": email, "password": PASSWORD}
    sent = httpx.Request("POST", "http://order/auth/register", json=body).content
    return {hashlib.sha256(b"POST /auth/register\n" + sent).hexdigest()}


async def test_unreadable_database_is_503_without_details(apart: ShopSettings, tmp_path: Path):
    async with open_order_service(apart) as client:
        token = (await client.sign_in(apart.admin_email, ADMIN_PASSWORD))["accessToken"]
        with closing(sqlite3.connect(tmp_path / "order.db")) as connection:
            connection.execute("ALTER TABLE customers RENAME TO mislaid")
        for method, path, body in (
            ("GET", "/auth/me", None),
            ("POST", "/auth/login", {"email": "a@example.com", "password": "hunter2 hunter2"}),
            ("POST", "/auth/register", {"email": "a@example.com", "password": "hunter2 hunter2"}),
        ):
            response = await client.ask(method, path, body, token=token)
            problem_of(response, 503, "storage-unavailable")
            assert response.headers["Retry-After"] == "1"
            assert "customers" not in response.text
        with closing(sqlite3.connect(tmp_path / "order.db")) as connection:
            connection.execute("ALTER TABLE mislaid RENAME TO customers")

        async def works_again() -> bool:
            return (await client.ask("GET", "/auth/me", token=token)).status_code == 200

        await eventually(works_again)
