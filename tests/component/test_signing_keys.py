"""Signing keys and access tokens, in each service and over a broker without users."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec
import nats
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from sqlalchemy import insert

from order_service.accounts import signing_keys
from quadrille.cli.main import main
from shared.chassis.errors import REFUSED
from shared.chassis.http.auth import AUDIENCE, ISSUER, LEEWAY_SECONDS
from shared.chassis.http.signing_keys import SIGNING_KEY
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.http.token_versions import MAX_TOKEN_SECONDS
from shared.chassis.messages.clock import now
from shared.chassis.messages.cloudevents import encode
from shared.chassis.storage.database import database_url, open_for_reading, open_for_writing
from shared.chassis.storage.inbox import INBOX
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.broker import NatsServer
from tests.support.chassis import publishing, rows_of
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.order_client import OrderClient, open_order_service, problem_of
from tests.support.process import service_process
from tests.support.settings import environment_of
from tests.support.verifiers import ROUTES, Publisher, reads_of, running

Headers = dict[str, str]

ADMIN_PASSWORD = "open sesame"

each_service = pytest.mark.parametrize("name", ROUTES)


@pytest.fixture
async def publisher(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as broker:
        yield Publisher(broker)


@each_service
async def test_forged_key_grants_nothing(
    name: str, shop_settings: ShopSettings, publisher: Publisher
):
    genuine, forger, following = Issuer(), Issuer(), Issuer()
    async with running(name, shop_settings) as service:
        await publisher.publish(
            genuine.published,
            forger.published,
            forger.vouched_by(forger),
            replace(forger.vouched_by(forger), vouched_by=genuine.key_id),
            forger.revoke(genuine.key_id),
            following.vouched_by(genuine),
        )
        await eventually(lambda: service.accepts(following.headers("root", "admin")))
        assert await service.accepts(genuine.headers("root", "admin"))
        assert await service.refuses(forger.headers("root", "admin"))
        (warning,) = await service.warnings()
        assert forger.key_id in warning
        await publisher.publish(following.revoke(forger.key_id))
        await eventually(lambda: _is_empty(service.warnings()))
        assert await service.refuses(forger.headers("root", "admin"))


@each_service
async def test_revoked_key_is_refused_after_restart(
    name: str, shop_settings: ShopSettings, publisher: Publisher
):
    old, new = Issuer(), Issuer()
    async with running(name, shop_settings) as service:
        await publisher.publish(old.published, new.vouched_by(old))
        await eventually(lambda: service.accepts(new.headers("root", "admin")))
        assert await service.accepts(old.headers("root", "admin"))
        await publisher.publish(new.revoke(old.key_id), old.published)
        await eventually(lambda: service.refuses(old.headers("root", "admin")))
        assert await service.accepts(new.headers("root", "admin"))
    async with running(name, shop_settings) as service:
        assert await service.refuses(old.headers("root", "admin"))
        assert await service.accepts(new.headers("root", "admin"))


async def _is_empty(result: Any) -> bool:
    return await result == []


async def test_key_before_its_vouching_key_is_trusted_later(
    shop_settings: ShopSettings, publisher: Publisher
):
    first, second, third = Issuer(), Issuer(), Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(
            third.vouched_by(second), second.revoke(first.key_id), first.published
        )
        await eventually(lambda: service.accepts(first.headers("root", "admin")))
    async with running("inventory", shop_settings) as service:
        await publisher.publish(second.vouched_by(first))
        await eventually(lambda: service.accepts(third.headers("root", "admin")))
        assert await service.refuses(first.headers("root", "admin"))


@pytest.mark.parametrize("public_key", ["none", "", "A" * 44, "A" * 42 + "!", 7])
async def test_malformed_key_is_a_dead_letter(
    public_key: object, shop_settings: ShopSettings, publisher: Publisher
):
    genuine, following = Issuer(), Issuer()
    message = recorded(replace(genuine.published, key_id="bad"))
    envelope = msgspec.json.decode(encode(message))
    envelope["data"]["publicKey"] = public_key
    async with running("inventory", shop_settings) as service:
        await publisher.publish(genuine.published)
        await publish_raw(shop_settings, message.subject, msgspec.json.encode(envelope))
        await publisher.publish(following.vouched_by(genuine))
        await eventually(lambda: service.accepts(following.headers("root", "admin")))
        assert await service.accepts(genuine.headers("root", "admin"))
        assert await service.warnings() == []


async def publish_raw(settings: ShopSettings, subject: str, body: bytes) -> None:
    client = await nats.connect(settings.nats_url)
    await client.publish(subject, body)
    await client.flush()
    await client.close()


async def test_malformed_row_breaks_no_token(shop_settings: ShopSettings, publisher: Publisher):
    genuine = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(genuine.published)
        await eventually(lambda: service.accepts(genuine.headers("root", "admin")))
    database = open_for_writing(database_url("inventory", shop_settings))
    row = {"key_id": "bad", "public_key": "none", "trust": "TRUSTED"}
    await database.run(lambda connection: connection.execute(insert(SIGNING_KEY).values(row)))
    await database.close()
    async with running("inventory", shop_settings) as service:
        assert await service.accepts(genuine.headers("root", "admin"))


def in_seconds(seconds: float) -> Any:
    return now() + timedelta(seconds=seconds)


def skewed() -> list[dict[str, Any]]:
    """Claims by a clock slightly ahead of the service's, or behind it."""
    return [
        {"iat": in_seconds(LEEWAY_SECONDS - 5)},
        {"iat": in_seconds(-600), "exp": in_seconds(5 - LEEWAY_SECONDS)},
    ]


def wrong() -> list[dict[str, Any]]:
    return [
        {"iat": in_seconds(LEEWAY_SECONDS + 60)},
        {"iat": in_seconds(-600), "exp": in_seconds(-LEEWAY_SECONDS - 1)},
        {"exp": in_seconds(MAX_TOKEN_SECONDS + 60)},
        {"iat": None},
        {"exp": None},
        {"aud": None},
        {"aud": "elsewhere"},
        {"aud": ["quadrille", "elsewhere"]},
        {"iss": "elsewhere"},
        {"sub": None},
        {"role": ["admin"]},
    ]


async def test_token_claims_are_checked_with_leeway(
    shop_settings: ShopSettings, publisher: Publisher
):
    issuer = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(issuer.published)
        await eventually(lambda: service.accepts(issuer.headers_with()))
        for claims in skewed():
            assert await service.accepts(issuer.headers_with(**claims)), claims
        for claims in wrong():
            assert await service.refuses(issuer.headers_with(**claims)), claims


async def test_unknown_key_costs_no_database_read(
    shop_settings: ShopSettings, publisher: Publisher
):
    genuine = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(genuine.published)
        await eventually(lambda: service.accepts(genuine.headers("root", "admin")))
        with reads_of("signing_key") as reads:
            for _ in range(3):
                assert await service.refuses(Issuer().headers("root", "admin"))
        assert reads == []


@pytest.fixture
def order_settings(shop_settings: ShopSettings, monkeypatch: pytest.MonkeyPatch) -> ShopSettings:
    """Settings of the order service, whose new keys sign much later."""
    monkeypatch.setattr(signing_keys, "OVERLAP_SECONDS", 3600)
    return replace(shop_settings, admin_password=ADMIN_PASSWORD)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch, order_settings: ShopSettings) -> ShopSettings:
    """The same, but new keys sign after half a second."""
    monkeypatch.setattr(signing_keys, "OVERLAP_SECONDS", 0.5)
    return order_settings


async def sign_in(client: OrderClient) -> str:
    tokens = await client.sign_in("admin@example.com", ADMIN_PASSWORD)
    token: str = tokens["accessToken"]
    return token


def key_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


async def statuses(client: OrderClient, token: str) -> dict[str, str]:
    answer = await client.ask("GET", "/auth/keys", token=token)
    assert answer.status_code == 200, answer.text
    return {key["keyId"]: key["status"] for key in answer.json()["items"]}


async def valid_keys(client: OrderClient) -> set[str]:
    keys = (await client.ask("GET", "/.well-known/jwks.json")).json()["keys"]
    return {key["kid"] for key in keys}


async def test_published_jwk_verifies_a_token(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        [jwk] = (await client.ask("GET", "/.well-known/jwks.json")).json()["keys"]
    assert jwk.keys() == {"kty", "crv", "use", "alg", "kid", "x"}
    claims = jwt.decode(token, jwt.PyJWK(jwk), audience=AUDIENCE, issuer=ISSUER)
    assert claims["role"] == "admin"


async def test_new_key_does_not_sign_immediately(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        old = await sign_in(client)
        new_key = (await client.ask("POST", "/auth/keys", token=old)).json()["keyId"]
        assert key_of(await sign_in(client)) == key_of(old)
        assert await statuses(client, old) == {key_of(old): "CURRENT", new_key: "NEXT"}


async def test_rotation_keeps_old_tokens_valid(soon: ShopSettings):
    async with open_order_service(soon) as client:
        old = await sign_in(client)
        rotated = await client.ask("POST", "/auth/keys", token=old)
        assert rotated.status_code == 201, rotated.text
        new_key = rotated.json()["keyId"]
        assert rotated.json()["status"] == "NEXT"
        assert rotated.json()["vouchedBy"] == key_of(old)
        assert await valid_keys(client) == {key_of(old), new_key}
        new = await eventually(lambda: signed_with(client, new_key))
        assert await statuses(client, old) == {key_of(old): "PREVIOUS", new_key: "CURRENT"}
        assert await statuses(client, new) == {key_of(old): "PREVIOUS", new_key: "CURRENT"}


async def signed_with(client: OrderClient, key_id: str) -> str | None:
    token = await sign_in(client)
    return token if key_of(token) == key_id else None


async def test_repeated_rotation_request_makes_one_key(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        first = await client.ask("POST", "/auth/keys", token=token, key="rotate-once-please")
        again = await client.ask("POST", "/auth/keys", token=token, key="rotate-once-please")
        assert first.json() == again.json()
        assert len(await valid_keys(client)) == 2


async def test_new_key_waits_for_the_broker(soon: ShopSettings, broker: NatsServer):
    async with open_order_service(soon) as client:
        old = await sign_in(client)
        broker.terminate()
        rotated = (await client.ask("POST", "/auth/keys", token=old)).json()
        await eventually(lambda: has_backlog(client))
        await eventually(lambda: in_seconds(0).isoformat() > rotated["signsFrom"])
        assert key_of(await sign_in(client)) == key_of(old)
        broker.restart()
        await eventually(lambda: signed_with(client, rotated["keyId"]), 20)


async def has_backlog(client: OrderClient) -> bool:
    answer = (await client.ask("GET", "/health/ready")).json()
    return "the broker to take its events" in answer["waitingFor"]


async def test_revoked_current_key_is_replaced_immediately(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        old = await sign_in(client)
        answer = await client.ask("DELETE", f"/auth/keys/{key_of(old)}", token=old)
        assert answer.status_code == 200, answer.text
        problem_of(await client.ask("GET", "/auth/keys", token=old), 401, "unauthorized")
        new = await sign_in(client)
        assert await statuses(client, new) == {key_of(old): "REVOKED", key_of(new): "CURRENT"}
        assert await valid_keys(client) == {key_of(new)}
        again = await client.ask("DELETE", f"/auth/keys/{key_of(old)}", token=new)
        assert again.json()["items"][0]["status"] == "REVOKED"
    async with open_order_service(order_settings) as client:
        assert await statuses(client, await sign_in(client)) == await statuses(client, new)


async def test_revoking_current_key_promotes_next_key(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        old = await sign_in(client)
        following = (await client.ask("POST", "/auth/keys", token=old)).json()["keyId"]
        await client.ask("DELETE", f"/auth/keys/{key_of(old)}", token=old)
        assert key_of(await sign_in(client)) == following
        assert await valid_keys(client) == {following}


async def test_next_key_can_be_revoked_before_use(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        following = (await client.ask("POST", "/auth/keys", token=token)).json()["keyId"]
        await client.ask("DELETE", f"/auth/keys/{following}", token=token)
        assert await statuses(client, token) == {key_of(token): "CURRENT", following: "REVOKED"}


async def test_revoking_unknown_key_is_refused(order_settings: ShopSettings):
    async with open_order_service(order_settings) as client:
        answer = await client.ask("DELETE", "/auth/keys/none", token=await sign_in(client))
        problem_of(answer, 404, "unknown-key")


async def test_forged_key_is_reported_by_order_service(
    order_settings: ShopSettings, publisher: Publisher, capsys: pytest.CaptureFixture[str]
):
    forger = Issuer()
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        await eventually(lambda: is_ready(client))
        await publisher.publish(forger.published)
        (warning,) = await eventually(lambda: warnings(client))
        assert forger.key_id in warning
        assert "signing_key.forged" in capsys.readouterr().out
        forged = forger.headers("root", "admin")["Authorization"].removeprefix("Bearer ")
        problem_of(await client.ask("GET", "/auth/keys", token=forged), 401, "unauthorized")
        assert (await statuses(client, token))[forger.key_id] == "UNTRUSTED"
        await client.ask("DELETE", f"/auth/keys/{forger.key_id}", token=token)
        assert await warnings(client) == []


async def test_key_vouched_by_leaked_key_is_forged(
    order_settings: ShopSettings, publisher: Publisher
):
    forger = Issuer()
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        await eventually(lambda: is_ready(client))
        await publisher.publish(forger.vouched_by(leaked(order_settings)))
        await eventually(lambda: warnings(client))
        forged = forger.headers("root", "admin")["Authorization"].removeprefix("Bearer ")
        problem_of(await client.ask("GET", "/auth/keys", token=forged), 401, "unauthorized")
        await client.ask("POST", "/auth/keys", token=token)
        assert (await statuses(client, token))[forger.key_id] == "UNTRUSTED"


def leaked(settings: ShopSettings) -> Issuer:
    """An attacker with the private key from the order service's database."""
    with closing(sqlite3.connect(settings.data_dir / "order.db")) as connection:
        query = "SELECT key_id, private_key FROM private_keys"
        return Issuer(TokenSigner.from_pem(*connection.execute(query).fetchone()))


async def test_own_keys_cause_no_warning(
    order_settings: ShopSettings, capsys: pytest.CaptureFixture[str]
):
    async with open_order_service(order_settings) as client:
        token = await sign_in(client)
        await client.ask("POST", "/auth/keys", token=token)
        await client.ask("DELETE", f"/auth/keys/{key_of(token)}", token=token)
    async with open_order_service(order_settings) as client:
        await eventually(lambda: has_received(order_settings, 5))
        assert await warnings(client) == []
    assert "signing_key." not in capsys.readouterr().out


async def is_ready(client: OrderClient) -> bool:
    return (await client.ask("GET", "/health/ready")).status_code == 200


async def warnings(client: OrderClient) -> list[str]:
    reasons: list[str] = (await client.ask("GET", "/health/ready")).json()["warnings"]
    return reasons


async def has_received(settings: ShopSettings, number: int) -> bool:
    """Whether the order service has received this number of its own key events."""
    reads = open_for_reading(database_url("order", settings))
    rows = await rows_of(reads, INBOX)
    await reads.close()
    return len(rows) >= number


async def test_start_publishes_keys_the_stream_has_lost(
    order_settings: ShopSettings, broker: NatsServer, tmp_path: Path
):
    async with open_order_service(order_settings) as client:
        old = await sign_in(client)
        await client.ask("DELETE", f"/auth/keys/{key_of(old)}", token=old)
        new = await sign_in(client)
    broker.terminate()
    shutil.rmtree(tmp_path / "nats" / "store")
    broker.restart()
    async with running("inventory", order_settings) as inventory:
        assert await inventory.refuses(bearer(new))
        async with open_order_service(order_settings):
            await eventually(lambda: inventory.accepts(bearer(new)))
            assert await inventory.refuses(bearer(old))


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


async def test_order_service_without_private_key_refuses_start(order_settings: ShopSettings):
    async with open_order_service(order_settings):
        pass
    change_keys(order_settings, "DELETE FROM private_keys")
    with service_process("order", order_settings) as refused:
        code, output = refused.ended()
    assert code == REFUSED
    assert "stop all services and run: quadrille reset-keys" in output.splitlines()[-1]


async def test_reset_keys_make_services_trust_new_key(order_settings: ShopSettings):
    async with (
        running("inventory", order_settings) as inventory,
        open_order_service(order_settings) as client,
    ):
        old = await sign_in(client)
        await eventually(lambda: inventory.accepts(bearer(old)))
    change_keys(order_settings, "DELETE FROM private_keys")
    reset = await asyncio.to_thread(
        CliRunner().invoke, main, ["reset-keys"], env=environment_of(order_settings)
    )
    assert reset.exit_code == 0, reset.output
    async with (
        running("inventory", order_settings) as inventory,
        open_order_service(order_settings) as client,
    ):
        new = await sign_in(client)
        await eventually(lambda: inventory.accepts(bearer(new)))
        assert await inventory.refuses(bearer(old))


async def test_older_key_signs_after_loss_of_current(order_settings: ShopSettings):
    """As in a copy that was made before the key was rotated, and brought up to the published events."""
    async with running("inventory", order_settings) as inventory:
        async with open_order_service(order_settings) as client:
            old = await sign_in(client)
            rotated = await client.ask("POST", "/auth/keys", token=old)
            following = rotated.json()["keyId"]
        change_keys(order_settings, f"DELETE FROM private_keys WHERE key_id = '{following}'")
        async with open_order_service(order_settings) as client:
            token = await sign_in(client)
            assert await statuses(client, token) == {
                key_of(token): "CURRENT",
                following: "PREVIOUS",
            }
            await eventually(lambda: inventory.accepts(bearer(token)))


def change_keys(settings: ShopSettings, statement: str) -> None:
    with closing(sqlite3.connect(settings.data_dir / "order.db")) as connection, connection:
        assert connection.execute(statement).rowcount
