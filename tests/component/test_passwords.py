"""Password hashing: bounded, sign-ins first, dropped for disconnected callers, no stale answers."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from order_service.accounts.passwords import HASHES_AT_ONCE, Passwords
from order_service.app import build
from shared.chassis.messages.rejection import Rejected
from tests.support.chassis import started
from tests.support.order_client import PASSWORD, OrderClient, problem_of
from tests.support.ports import free_port
from tests.support.settings import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_PASSWORD = "battery staple"
MAX_WAITING = 4
"""Fewer than in production, because hashing is slow."""
ROOM = HASHES_AT_ONCE + MAX_WAITING

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    directory = tmp_path_factory.mktemp("passwords")
    settings = settings_for(directory, f"nats://127.0.0.1:{free_port()}", admin_password=PASSWORD)
    async with started(build(settings)) as app:
        yield app


@pytest.fixture(autouse=True)
def _few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("order_service.accounts.passwords.MAX_WAITING", MAX_WAITING)


@pytest.fixture
def client(app: Any) -> OrderClient:
    return OrderClient(app)


@pytest.fixture
def email() -> str:
    return f"customer{next(_numbers)}@example.com"


async def test_waiting_registrations_are_bounded(client: OrderClient, email: str):
    answers = await asyncio.gather(
        *(client.register(f"{number}.{email}") for number in range(ROOM + 2))
    )
    refused = [answer for answer in answers if answer.status_code != 201]
    assert refused
    for answer in refused:
        problem_of(answer, 503, "busy")
        assert int(answer.headers["Retry-After"]) > 0


async def test_taken_address_costs_no_hash(client: OrderClient, email: str):
    await client.register(email)
    answers = await asyncio.gather(*(client.register(email) for _ in range(2 * ROOM)))
    assert {answer.status_code for answer in answers} == {409}


async def test_sign_in_overtakes_waiting_registrations():
    passwords, finished = Passwords(), []
    password_hash = await passwords.hash(PASSWORD)

    async def register(number: int) -> None:
        await passwords.hash(f"{PASSWORD} {number}")
        finished.append(number)

    registrations = [asyncio.create_task(register(number)) for number in range(ROOM)]
    await asyncio.sleep(0)
    assert await passwords.matches(password_hash, PASSWORD)
    assert len(finished) < ROOM - 1
    await asyncio.gather(*registrations)


async def test_abandoned_hashes_are_dropped():
    passwords = Passwords()
    for _ in range(3):
        gone = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
    assert await passwords.hash(PASSWORD)


async def test_sign_ins_are_refused_beyond_their_bound():
    passwords = Passwords()
    password_hash = await passwords.hash(PASSWORD)
    answers = await asyncio.gather(
        *(passwords.matches(password_hash, PASSWORD) for _ in range(ROOM + 1)),
        return_exceptions=True,
    )
    assert answers[:ROOM] == [True] * ROOM
    assert isinstance(answers[ROOM], Rejected)


async def test_registration_of_disconnected_caller_is_dropped(
    app: Any, client: OrderClient, email: str
):
    body = json.dumps({"email": email, "password": PASSWORD}).encode()
    received = iter(
        [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(received)

    async def send(_: object) -> None:
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/auth/register",
        "raw_path": b"/auth/register",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-length", str(len(body)).encode())],
        "client": ("192.0.2.1", 40_000),
        "server": ("order", 80),
    }
    await app(scope, receive, send)
    problem_of(await client.login(email), 401, "bad-credentials")
    assert (await client.register(email)).status_code == 201


async def test_sign_in_with_replaced_password_is_refused(
    client: OrderClient, email: str, monkeypatch: pytest.MonkeyPatch
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    change_during_next_check(client, token, monkeypatch)
    problem_of(await client.login(email), 401, "bad-credentials")
    await client.sign_in(email, OTHER_PASSWORD)


async def test_change_of_replaced_password_is_refused(
    client: OrderClient, email: str, monkeypatch: pytest.MonkeyPatch
):
    token = (await client.register_and_sign_in(email))["accessToken"]
    change_during_next_check(client, token, monkeypatch)
    body = {"currentPassword": PASSWORD, "newPassword": "a third password"}
    refused = await client.ask("PUT", "/auth/password", body, token=token)
    problem_of(refused, 403, "bad-credentials")
    await client.sign_in(email, OTHER_PASSWORD)


def change_during_next_check(
    client: OrderClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Change the password over HTTP after the next check has accepted it."""
    loop, verify = asyncio.get_running_loop(), PasswordHasher.verify

    def verify_slowly(hasher: PasswordHasher, known_hash: str, password: str) -> bool:
        monkeypatch.undo()
        is_right = verify(hasher, known_hash, password)
        body = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
        change = client.ask("PUT", "/auth/password", body, token=token)
        assert asyncio.run_coroutine_threadsafe(change, loop).result(30).status_code == 204
        return is_right

    monkeypatch.setattr(PasswordHasher, "verify", verify_slowly)


@pytest.mark.parametrize("password", ["password", "        ", "\x00" * 8, "12345678"])
async def test_weak_password_is_refused(client: OrderClient, email: str, password: str):
    problem = problem_of(await client.register(email, password), 400, "invalid-request")
    assert problem["errors"][0]["field"] == "password"
    token = (await client.register_and_sign_in(email))["accessToken"]
    body = {"currentPassword": PASSWORD, "newPassword": password}
    changed = await client.ask("PUT", "/auth/password", body, token=token)
    problem = problem_of(changed, 400, "invalid-request")
    assert problem["errors"][0]["field"] == "newPassword"


async def test_own_address_is_refused_as_password(client: OrderClient, email: str):
    problem_of(await client.register(email, email.upper()), 400, "invalid-request")
