"""Access tokens that are revoked before they expire, in each service."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest

from shared.chassis.engine.retention import delete_slice
from shared.chassis.http import token_versions
from shared.chassis.http.token_versions import TOKEN_VERSION
from shared.chassis.messages.identity_events import TokensRevoked
from shared.chassis.runtime.retention_rules import COMMON_RULES
from shared.chassis.storage.database import CHASSIS_METADATA, database_url, open_for_writing
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.chassis import publishing
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.order_client import PASSWORD, OrderClient, open_order_service, problem_of
from tests.support.verifiers import ROUTES, Publisher, reads_of, running

NEW_PASSWORD = "another horse"


@pytest.fixture
async def publisher(shop_settings: ShopSettings) -> AsyncIterator[Publisher]:
    async with publishing(shop_settings) as broker:
        yield Publisher(broker)


def revoked(version: int, user_id: str = "root") -> TokensRevoked:
    return TokensRevoked(user_id=user_id, token_version=version)


@pytest.mark.parametrize("name", ROUTES)
async def test_revoked_token_is_refused_after_restart(
    name: str, shop_settings: ShopSettings, publisher: Publisher
):
    issuer = Issuer()
    first, second = (issuer.headers("root", "admin", version) for version in (0, 1))
    other = issuer.headers("other", "admin")
    async with running(name, shop_settings) as service:
        await publisher.publish(issuer.published)
        await eventually(lambda: service.accepts(first))
        await publisher.publish(revoked(1))
        await eventually(lambda: service.refuses(first))
        assert await service.accepts(second)
        assert await service.accepts(other)
    async with running(name, shop_settings) as service:
        assert await service.refuses(first)
        assert await service.accepts(second)


async def test_older_revocation_that_arrives_late_changes_nothing(
    shop_settings: ShopSettings, publisher: Publisher
):
    issuer = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(issuer.published, revoked(3), revoked(1), revoked(1, "other"))
        await eventually(lambda: service.accepts(issuer.headers("root", "admin", 3)))
        await eventually(lambda: service.refuses(issuer.headers("other", "admin")))
        assert await service.refuses(issuer.headers("root", "admin", 2))
        assert await service.accepts(issuer.headers("root", "admin", 3))


@pytest.mark.parametrize("version", [-1, "1", 1.5, True])
async def test_token_with_a_malformed_version_is_refused(
    version: object, shop_settings: ShopSettings, publisher: Publisher
):
    issuer = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(issuer.published)
        await eventually(lambda: service.accepts(issuer.headers_with(ver=0)))
        assert await service.refuses(issuer.headers_with(ver=version))


async def test_checking_tokens_reads_no_database(shop_settings: ShopSettings, publisher: Publisher):
    issuer = Issuer()
    async with running("inventory", shop_settings) as service:
        await publisher.publish(issuer.published, revoked(1))
        await eventually(lambda: service.accepts(issuer.headers("other", "admin")))
        await eventually(lambda: service.refuses(issuer.headers("root", "admin")))
        with reads_of("token_version") as reads:
            for number in range(5):
                assert await service.accepts(issuer.headers(f"user-{number}", "admin"))
                assert await service.refuses(issuer.headers("root", "admin"))
        assert reads == []


async def test_versions_are_deleted_when_tokens_have_expired(shop_settings: ShopSettings):
    database = open_for_writing(database_url("inventory", shop_settings))
    (rule,) = [rule for rule in COMMON_RULES if rule.column.table is TOKEN_VERSION]
    aged = rule._replace(after=timedelta(0))
    event = recorded(revoked(1))
    try:
        await database.run(CHASSIS_METADATA.create_all)
        await database.run(lambda connection: token_versions.keep(connection, [event]))
        assert rule.after > timedelta(seconds=token_versions.MAX_TOKEN_SECONDS)
        assert await database.run(lambda connection: delete_slice(connection, rule)) == 0
        assert await database.run(token_versions.load) == {"root": 1}
        assert await database.run(lambda connection: delete_slice(connection, aged)) == 1
        assert await database.run(token_versions.load) == {}
    finally:
        await database.close()


async def test_highest_version_counts_in_any_order(shop_settings: ShopSettings):
    database = open_for_writing(database_url("inventory", shop_settings))
    events = [recorded(revoked(version)) for version in (1, 2, 2, 1)]
    try:
        await database.run(CHASSIS_METADATA.create_all)
        for event in events:
            await database.run(partial(token_versions.keep, received=[event]))
        assert await database.run(token_versions.load) == {"root": 2}
    finally:
        await database.close()


async def change_password(client: OrderClient, token: str) -> int:
    body = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    return (await client.ask("PUT", "/auth/password", body, token=token)).status_code


async def test_password_change_ends_access_tokens_at_once(shop_settings: ShopSettings):
    async with open_order_service(shop_settings) as client:
        token, elsewhere = [
            (await sign_in("jane@example.com"))["accessToken"]
            for sign_in in (client.register_and_sign_in, client.sign_in)
        ]
        bystander = (await client.register_and_sign_in("ben@example.com"))["accessToken"]
        assert await change_password(client, token) == 204
        for ended in (token, elsewhere):
            problem_of(await client.ask("GET", "/auth/me", token=ended), 401, "unauthorized")
        assert (await client.ask("GET", "/auth/me", token=bystander)).status_code == 200
        renewed = (await client.sign_in("jane@example.com", NEW_PASSWORD))["accessToken"]
        assert (await client.ask("GET", "/auth/me", token=renewed)).status_code == 200
    async with open_order_service(shop_settings) as client:
        problem_of(await client.ask("GET", "/auth/me", token=token), 401, "unauthorized")
        assert (await client.ask("GET", "/auth/me", token=renewed)).status_code == 200


async def test_token_without_a_version_is_of_the_first(
    shop_settings: ShopSettings, publisher: Publisher
):
    """As an earlier release issued them."""
    issuer = Issuer()
    old = issuer.headers_with(ver=None)
    async with running("inventory", shop_settings) as service:
        await publisher.publish(issuer.published)
        await eventually(lambda: service.accepts(old))
        await publisher.publish(revoked(1))
        await eventually(lambda: service.refuses(old))
