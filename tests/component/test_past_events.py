"""A service that subscribes to further event types handles their past too, once."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from shared.chassis.jetstream import past_events
from shared.chassis.messages import clock
from shared.chassis.messages.event import Event
from shared.chassis.runtime.service import Service
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.subscribed_types import SUBSCRIBED_TYPE
from shared.contracts import OrderCreated, OrderItem
from shared.settings import ShopSettings
from tests.support.chassis import INVENTORY, ORDER, Publisher, ServiceSpec, rows_of, serving
from tests.support.eventually import eventually
from tests.support.histories import Log, log_of
from tests.support.history import recorded
from tests.support.replay import create_stream, record_as_sent


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_events, "FIRST_PAUSE_SECONDS", 0.1)


def ordered(number: int) -> OrderCreated:
    items = (OrderItem(product_id="p1", quantity=1, price=100),)
    return OrderCreated(
        order_id=f"o{number}", user_id="u", items=items, total_amount=100, currency="JPY"
    )


def orders(number: int) -> Log:
    return log_of("order", *map(ordered, range(number)))


def without(spec: ServiceSpec, event_type: type[Event]) -> ServiceSpec:
    """The service as an earlier release, which did not consume the event."""
    subscriptions = [one for one in spec.logic.subscriptions if one.event_type is not event_type]
    return spec._replace(logic=spec.logic._replace(subscriptions=tuple(subscriptions)))


EARLIER = without(INVENTORY, OrderCreated)
OWNER = ORDER._replace(logic=ORDER.logic._replace(subscriptions=()))
"""Answers requests, and takes no notice of what its events lead to."""


async def is_ready(service: Service) -> bool:
    return service.waiting_for() == [] and service.warnings() == []


async def handled(service: Service) -> set[str]:
    return {row["event_id"] for row in await rows_of(service.reads, INBOX)}


async def has_handled(service: Service, log: Log) -> bool:
    return await handled(service) == {event.event_id for event in log}


async def test_widened_subscription_handles_past_events(shop_settings: ShopSettings):
    log = orders(3)
    async with serving(shop_settings, OWNER) as order:
        await record_as_sent(order, log)
        async with serving(shop_settings, EARLIER) as service:
            await eventually(lambda: is_ready(service), 20)
            assert await handled(service) == set()
        async with serving(shop_settings) as service:
            await eventually(lambda: has_handled(service, log), 20)


async def test_past_events_wait_for_their_owner(shop_settings: ShopSettings):
    log = orders(3)
    async with serving(shop_settings, OWNER) as order:
        await record_as_sent(order, log)
    async with serving(shop_settings, EARLIER) as service:
        await eventually(lambda: is_ready(service), 20)
    async with serving(shop_settings) as service:
        await eventually(lambda: service.waiting_for() == [], 20)
        assert service.warnings() == ["past events are not handled yet: OrderCreated"]
    async with serving(shop_settings) as service, serving(shop_settings, OWNER):
        await eventually(lambda: has_handled(service, log), 20)


async def test_past_events_are_replayed_once(shop_settings: ShopSettings):
    log = orders(3)
    async with serving(shop_settings, OWNER) as order:
        async with serving(shop_settings) as service:
            await eventually(lambda: is_ready(service), 20)
        await record_as_sent(order, log)
        async with serving(shop_settings) as service:
            await eventually(lambda: is_ready(service), 20)
            assert await handled(service) == set()


async def test_database_of_earlier_release_replays_new_types_only(shop_settings: ShopSettings):
    log = orders(3)
    async with serving(shop_settings, OWNER) as order:
        await record_as_sent(order, log)
        async with serving(shop_settings, EARLIER) as service:
            await eventually(lambda: is_ready(service), 20)
            await forget_subscriptions(service)
        async with serving(shop_settings) as service:
            await eventually(lambda: has_handled(service, log), 20)
            await forget_subscriptions(service)
        await record_as_sent(order, log_of("order", *map(ordered, range(4)))[3:])
        async with serving(shop_settings) as service:
            await eventually(lambda: is_ready(service), 20)
            assert await has_handled(service, log)


async def forget_subscriptions(service: Service) -> None:
    forget = delete(SUBSCRIBED_TYPE)
    await service.writer.run_in_transaction(lambda connection: connection.execute(forget))


async def test_new_database_handles_events_that_have_expired(shop_settings: ShopSettings):
    log = orders(3)
    publisher = Publisher("test", shop_settings)
    await publisher.connect()
    await create_stream(publisher, shop_settings, first=1001)
    await publisher.close()
    async with serving(shop_settings, OWNER) as order:
        await record_as_sent(order, log)
        async with serving(shop_settings) as service:
            await eventually(lambda: has_handled(service, log), 20)


async def test_long_absent_service_handles_expired_events(shop_settings: ShopSettings):
    early, late, latest = orders(3)
    async with serving(shop_settings, OWNER) as order:
        async with serving(shop_settings) as service:
            await eventually(lambda: is_ready(service), 20)
            await service.writer.handle([recorded(ordered(99))])
            before = await handled(service)
            eight_days_ago = clock.now() - timedelta(days=8)
            then = update(INBOX).values(processed_at=eight_days_ago)
            await service.writer.run_in_transaction(lambda connection: connection.execute(then))
        await record_as_sent(order, [early])
        await record_as_sent(order, [late, latest], eight_days_ago + timedelta(minutes=1))
        async with serving(shop_settings) as service:
            assert await eventually(lambda: knows(service, [late, latest]), 20)
            assert early.event_id not in await handled(service)
            assert before <= await handled(service)


async def knows(service: Service, log: Log) -> bool:
    return {event.event_id for event in log} <= await handled(service)
