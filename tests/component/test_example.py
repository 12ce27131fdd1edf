"""The example service as a process of its own, on a real broker."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace
from nats.js import api

from examples.accounting import CATALOG, AccountingSettings, InvoiceIssued
from shared.chassis.messages.cloudevents import decode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import STREAM
from shared.contracts import OrderCompleted
from tests.support.chassis import Publisher, publishing
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.ports import free_port
from tests.support.process import ServiceProcess

KILLED = 86
START_SECONDS = 30


@contextmanager
def accounting(settings: AccountingSettings) -> Iterator[ServiceProcess]:
    process = ServiceProcess("examples.accounting", settings.accounting_port, settings)
    try:
        yield process
    finally:
        process.kill()


def completed(order_id: str) -> RecordedEvent:
    return recorded(OrderCompleted(order_id=order_id, tracking_number="T1"))


def invoices(data_dir: Path) -> set[str]:
    with closing(sqlite3.connect(data_dir / "accounting.db")) as connection:
        return {order_id for (order_id,) in connection.execute("SELECT order_id FROM invoices")}


async def invoiced_on_stream(broker: Publisher) -> list[str]:
    """The order ids of all published InvoiceIssued, in order."""
    stream = broker.jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    messages = [await stream.get_msg(STREAM, seq=number + 1) for number in range(last)]
    events = [decode(m.subject, m.data, CATALOG).event for m in messages]
    return [event.order_id for event in events if isinstance(event, InvoiceIssued)]


async def is_caught_up(broker: Publisher) -> bool:
    info: api.ConsumerInfo = await broker.jetstream().consumer_info(STREAM, "accounting")
    return (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_example_invoices_once_despite_crash(tmp_path: Path, broker_url: str):
    settings = AccountingSettings(
        data_dir=tmp_path, nats_url=broker_url, accounting_port=free_port()
    )
    async with publishing(settings) as shop:
        with accounting(replace(settings, failpoint="after_commit:2")) as process:
            await eventually(process.is_ready, START_SECONDS)
            await shop.publish([completed("o1")])
            await eventually(lambda: invoices(tmp_path) == {"o1"})
            await shop.publish([completed("o2")])
            code, output = process.ended()
            assert code == KILLED, output
        await shop.publish([completed("o1"), completed("o3")])
        with accounting(settings) as process:
            await eventually(process.is_ready, START_SECONDS)
            await eventually(lambda: invoices(tmp_path) == {"o1", "o2", "o3"})
            await eventually(lambda: is_caught_up(shop))
            process.stop()
        assert await invoiced_on_stream(shop) == ["o1", "o2", "o3"]
