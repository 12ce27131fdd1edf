"""Databases of a shop with as many finished orders as a test asks for, without running it.

One hundred orders are decided by the real rules in memory, some of them cancelled or not delivered; every further
hundred is a copy with ids of its own. No broker has to take the events: all of them are marked as published.
"""

import random
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from read_api.tables import EVENTS, POSITIONS
from shared.chassis.http import signing_keys
from shared.chassis.messages.cloudevents import stored
from shared.chassis.messages.recorded_event import RecordedEvent, StoredEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.database import Database, insert_all, upsert
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.testing import recorded
from shared.contracts import NotificationSent
from tests.support.in_memory_shop import InMemoryShop

ORDERS_PER_COPY = 100
PRODUCTS = {f"p{number}": 1_000_000 for number in range(20)}
ORDER_ID = re.compile(r"\bo-\d+\b|(?<=\"shipmentId\":\")[^\"]+")
Logs = dict[str, list[StoredEvent]]


def sample_logs(orders: int) -> Logs:
    """The log of each service, by its name."""
    shop = InMemoryShop(PRODUCTS)
    setup = {service.source: len(service.log) for service in shop.services}
    _place_orders(shop)
    logs: dict[str, list[RecordedEvent]] = {
        service.source: service.log for service in shop.services
    }
    logs["notifier"] = _notifications(shop)
    return {
        source: list(_copied(list(map(stored, log)), setup.get(source, 0), orders))
        for source, log in logs.items()
    }


async def write_log(database: Database, log: list[StoredEvent]) -> None:
    """As the service recorded and published them; without the tables that follow from them."""

    def write(connection: Connection) -> None:
        event_log.append(connection, log)
        connection.execute(EVENT_LOG.update().values(stream_seq=EVENT_LOG.c.position))

    await database.run(write)


async def write_archive(database: Database, logs: Logs) -> None:
    """As the read API received them; without the projections."""

    def write(connection: Connection) -> None:
        for source, log in logs.items():
            insert_all(connection, EVENTS, [_archived(event) for event in log])
            upsert(connection, POSITIONS, [{"source": source, "applied": len(log)}])

    await database.run(write)


async def trust(database: Database, service: str, published: Any) -> None:
    """Have the service accept the tokens of this issuer's key."""
    event = recorded(published, source="order")
    await database.run(lambda connection: signing_keys.keep(connection, service, [event]))


def _place_orders(shop: InMemoryShop) -> None:
    draw = random.Random(9)
    for number in range(ORDERS_PER_COPY):
        items = [(product_id, 1) for product_id in draw.sample(sorted(PRODUCTS), 3)]
        shop.place(f"o-{number}", items)
        if number % 20 == 0:
            shop.cancel(f"o-{number}")
        shop.deliver_all()
    for order_id in shop.bookings_due():
        shop.confirm_booking(order_id)
        shop.answer_booking(order_id, delivered=not order_id.endswith("7"))
    shop.deliver_all()


def _notifications(shop: InMemoryShop) -> list[RecordedEvent]:
    """Three mails of each order."""
    return [
        recorded(
            NotificationSent(
                notification_id=f"o-{number}-{template}",
                order_id=f"o-{number}",
                template=template,
                recipient="b***@example.com",
            )
        )
        for number in range(ORDERS_PER_COPY)
        for template in ("confirmed", "dispatched", "completed")
    ]


def _copied(log: list[StoredEvent], setup: int, orders: int) -> Iterator[StoredEvent]:
    """The events of the setup, and copies of the others."""
    positions = count(1)
    for event in log[:setup]:
        yield replace(event, position=next(positions))
    for copy in range(max(orders // ORDERS_PER_COPY, 1)):
        for event in log[setup:]:
            yield replace(_renamed(event, f"-{copy}"), position=next(positions))


def _renamed(event: StoredEvent, suffix: str) -> StoredEvent:
    def renamed(text: str) -> str:
        return ORDER_ID.sub(rf"\g<0>{suffix}", text)

    return replace(
        event,
        event_id=event.event_id + suffix,
        entity_id=renamed(event.entity_id),
        correlation_id=renamed(event.correlation_id),
        data=renamed(event.data.decode()).encode(),
    )


def _archived(event: StoredEvent) -> dict[str, object]:
    names = [column.name for column in EVENTS.columns]
    return {name: getattr(event, name) for name in names} | {"data": msgspec.Raw(event.data)}
