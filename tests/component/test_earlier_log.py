"""The log that an earlier release wrote is read by this one, whose events have other schema versions."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, select

from shared.chassis.messages.cloudevents import decode_of
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import event_log
from shared.chassis.storage.database import open_for_writing
from shared.chassis.storage.event_log import EVENT_LOG
from shared.chassis.storage.migrations import migrate
from shared.contracts import CATALOG, Address, OrderCreated, ShipmentInitiated
from tests.support.earlier_release import unpack

AIKO = Address(name="Aiko", lines=(), postcode="", city="Kyoto")
"""`{"name":"Aiko","city":"Kyoto"}` in the earlier release."""


async def read_log(
    source: str, directory: Path
) -> tuple[list[str], list[RecordedEvent], list[RecordedEvent]]:
    """Type and version of each row, the events as their own service reads them, and as others get them in a replay."""

    def read(
        connection: Connection,
    ) -> tuple[list[str], list[RecordedEvent], list[RecordedEvent]]:
        migrate(connection, source, MetaData(), (), None)
        rows = connection.execute(select(EVENT_LOG).order_by(EVENT_LOG.c.position))
        versions = [f"{row.event_type}.v{row.schema_version}" for row in rows]
        own = list(event_log.read_all(connection, source, CATALOG))
        page = event_log.page_after(connection, source, 0, most=10_000, most_bytes=10_000_000)
        return versions, own, [decode_of(source, body, CATALOG) for body in page.bodies]

    database = open_for_writing(f"sqlite:///{unpack(source, directory)}")
    try:
        return await database.run(read)
    finally:
        await database.close()


@pytest.mark.parametrize("source", sorted(CATALOG.sources))
async def test_log_of_earlier_release_is_read(source: str, tmp_path: Path):
    versions, own, replayed = await read_log(source, tmp_path)
    assert versions
    assert [version.partition(".")[0] for version in versions] == [one.event_type for one in own]
    assert [one.event for one in replayed] == [one.event for one in own]


async def test_first_version_of_order_is_read_as_second(tmp_path: Path):
    versions, events, _ = await read_log("order", tmp_path)
    assert "OrderCreated.v1" in versions
    assert OrderCreated.SCHEMA_VERSION > 1
    orders = [one.event for one in events if isinstance(one.event, OrderCreated)]
    assert [order.shipping_address for order in orders].count(AIKO) == 2


async def test_first_version_of_shipment_is_read_as_second(tmp_path: Path):
    versions, events, _ = await read_log("shipping", tmp_path)
    assert "ShipmentInitiated.v1" in versions
    shipments = [one.event for one in events if isinstance(one.event, ShipmentInitiated)]
    assert AIKO in [shipment.shipping_address for shipment in shipments]
