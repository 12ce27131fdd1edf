"""Dead letters are tried, redriven in order and discarded; no new event overtakes them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from msgspec.structs import replace
from sqlalchemy import Connection

from inventory_service.store import RESERVATIONS
from shared.chassis.engine import redriver
from shared.chassis.engine.past_events import PastEvent, append_past
from shared.chassis.engine.retention import RetentionRule, delete_slice
from shared.chassis.failpoints import EXIT_CODE
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.clock import now
from shared.chassis.messages.cloudevents import encode, stored
from shared.chassis.messages.received import MalformedMessage, Message, receive
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.system_events import EventDeadLettered, EventDiscarded, EventRedriven
from shared.chassis.storage import dead_letters, redrives
from shared.chassis.storage.database import CHASSIS_METADATA
from shared.chassis.storage.dead_letters import DEAD_LETTER
from shared.chassis.storage.inbox import INBOX
from shared.chassis.storage.redrives import REDRIVE, REDRIVE_ITEM
from shared.contracts import (
    CATALOG,
    OrderCreated,
    OrderItem,
    ShipmentCancelled,
    ShipmentCompleted,
)
from shared.settings import ShopSettings
from tests.support.chassis import INVENTORY, log_of, rows_of, serving
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.process import service_process
from tests.support.redriving import Redriving, Rules, outcomes, redriving

EVERY_ID = RetentionRule(INBOX.c.processed_at, timedelta())


def ordered(order_id: str) -> RecordedEvent:
    item = OrderItem(product_id="p1", quantity=1, price=5000)
    return recorded(
        OrderCreated(
            order_id=order_id, user_id="u", items=(item,), total_amount=5000, currency="JPY"
        )
    )


def cancelled(order_id: str) -> RecordedEvent:
    return recorded(ShipmentCancelled(order_id=order_id, reason="CUSTOMER"))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Redriving]:
    async with redriving(tmp_path / "inventory.db") as running:
        yield running


async def park(service: Redriving, *events: Message, order_id: str = "o1") -> None:
    """The events of an order for which the rules fail until they are repaired."""
    service.rules.faulty.add(order_id)
    await service.chassis.handle(*events)


def repair(service: Redriving) -> None:
    service.rules.faulty.clear()


async def reservations(service: Redriving) -> dict[str, str]:
    rows = await service.chassis.rows(RESERVATIONS)
    return {row["order_id"]: row["status"] for row in rows}


async def of_type(service: Redriving, event_type: type[Any]) -> list[Any]:
    log = await service.chassis.log()
    return [entry.event for entry in log if isinstance(entry.event, event_type)]


async def test_redrive_handles_letters_in_order(service: Redriving):
    created, end = ordered("o1"), cancelled("o1")
    await park(service, created, end, ordered("o2"))
    repair(service)
    assert await service.redrive("o1") == [
        ("OrderCreated", "HANDLED"),
        ("ShipmentCancelled", "HANDLED"),
    ]
    assert await service.letters() == []
    assert await service.chassis.event_types() == [
        "EventDeadLettered",
        "StockReservationFailed",
        "StockReservationFailed",
        "EventRedriven",
        "EventRedriven",
    ]
    redriven = EventRedriven(event_id=created.event_id, event_type="OrderCreated", key="o1")
    assert (await of_type(service, EventRedriven))[0] == redriven
    handled_at = {row["processed_at"] for row in await service.chassis.rows(INBOX)}
    recorded_at = (await service.chassis.log())[-1].recorded_at
    assert max(handled_at) == recorded_at
    await service.chassis.handle(created, end)
    assert len(await service.chassis.log()) == 5


async def test_redrive_stops_at_first_failure(service: Redriving):
    await park(service, ordered("o1"), cancelled("o1"), order_id="o1")
    await park(service, ordered("o2"), cancelled("o2"), order_id="o2")
    completed = recorded(ShipmentCompleted(shipment_id="s", order_id="o2", tracking_number="T"))
    await service.chassis.handle(completed, ordered("o2"))
    service.rules.faulty = {"o1", "DeductStock"}
    assert await service.redrive("o1") == [
        ("OrderCreated", "FAILED"),
        ("ShipmentCancelled", "WAITING"),
    ]
    assert len(await of_type(service, EventDeadLettered)) == 2
    assert await service.redrive("o2") == [
        ("OrderCreated", "HANDLED"),
        ("ShipmentCancelled", "HANDLED"),
        ("ShipmentCompleted", "FAILED"),
        ("OrderCreated", "WAITING"),
    ]
    assert await service.letters() == [
        ("o1", "OrderCreated", "PARKED"),
        ("o1", "ShipmentCancelled", "WAITING"),
        ("o2", "ShipmentCompleted", "PARKED"),
        ("o2", "OrderCreated", "WAITING"),
    ]
    announced = (await of_type(service, EventDeadLettered))[-1]
    assert (announced.event_id, announced.key) == (completed.event_id, "o2")


async def test_failed_redrive_keeps_the_new_error(service: Redriving):
    await park(service, ordered("o1"))
    service.rules.fault = "another fault"
    await service.redrive("o1")
    (row,) = await service.chassis.rows(DEAD_LETTER)
    assert (row["status"], row["error"]) == ("PARKED", "ZeroDivisionError: another fault for o1")


async def test_event_during_redrive_keeps_its_order(
    service: Redriving, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redriver, "MAX_AT_ONCE", 2)
    events = [ordered("o1"), *(cancelled("o1") for _ in range(6))]
    later = [cancelled("o1") for _ in range(30)]
    await park(service, *events)
    repair(service)
    redriving_all = asyncio.create_task(service.redrive("o1"))
    for event in later:
        await service.chassis.handle(event)
    assert {outcome for _, outcome in await redriving_all} == {"HANDLED"}
    await eventually(lambda: _is_empty(service.letters()))
    handled = {row["event_id"]: row["processed_at"] for row in await service.chassis.rows(INBOX)}
    times = [handled[event.event_id] for event in [*events, *later]]
    assert times == sorted(times)
    redriven = [event.event_id for event in await of_type(service, EventRedriven)]
    assert redriven[:7] == [event.event_id for event in events]


async def _is_empty(result: Any) -> bool:
    return await result == []


async def rows_of_all_tables(service: Redriving) -> dict[str, list[dict[str, Any]]]:
    tables = (*CHASSIS_METADATA.sorted_tables, *INVENTORY.tables.sorted_tables)
    return {str(table.name): await service.chassis.rows(table) for table in tables}


async def test_trial_shows_the_redrive_and_writes_nothing(service: Redriving):
    created = ordered("o1")
    await park(service, created, cancelled("o1"))
    repair(service)
    before = await rows_of_all_tables(service)
    [trial] = await service.redriver.attempt("o1")
    assert await rows_of_all_tables(service) == before
    assert [attempt.outcome for attempt in trial.attempts] == ["HANDLED", "HANDLED"]
    assert [event.event_type for event in trial.events[created.event_id]] == [
        "StockReservationFailed",
        "EventRedriven",
    ]
    change = trial.changes[0]
    assert (change.kind, change.entity_id, change.before) == ("reservations", "o1", None)
    await service.redrive("o1")
    assert change.after is not None
    assert await reservations(service) == {"o1": change.after["status"]}


async def test_trial_of_failing_rule_names_the_error(service: Redriving):
    await park(service, ordered("o1"), cancelled("o1"))
    [trial] = await service.redriver.attempt("o1")
    assert [(attempt.outcome, attempt.error) for attempt in trial.attempts] == [
        ("FAILED", "ZeroDivisionError: no answer for o1"),
        ("WAITING", "its entity is parked"),
    ]
    assert not trial.changes


async def discard(service: Redriving, event: Message, key: str = "o1") -> str | None:
    return await service.redriver.discard(key, event.event_id, by="olga", reason="a test")


async def test_discard_lets_the_later_events_pass(service: Redriving):
    created, end = ordered("o1"), cancelled("o1")
    await park(service, created, end)
    repair(service)
    redrive_id = await discard(service, created)
    assert redrive_id is not None
    assert outcomes(await service.redriver.wait(redrive_id, 10)) == [
        ("ShipmentCancelled", "HANDLED")
    ]
    (row,) = await service.chassis.rows(DEAD_LETTER)
    assert (row["status"], row["discarded_by"], row["reason"]) == ("DISCARDED", "olga", "a test")
    assert await of_type(service, EventDiscarded) == [
        EventDiscarded(
            event_id=created.event_id, event_type="OrderCreated", key="o1", reason="a test"
        )
    ]


async def test_repeated_discard_changes_nothing(service: Redriving):
    created = ordered("o1")
    await park(service, created, cancelled("o1"))
    await discard(service, created)
    log = await service.chassis.log()
    assert await discard(service, created) is None
    assert await service.chassis.log() == log


async def test_discarded_event_is_never_handled(service: Redriving):
    created = ordered("o1")
    await park(service, created)
    repair(service)
    await discard(service, created)
    writer = service.chassis.writer
    await writer.run_in_transaction(lambda connection: delete_slice(connection, EVERY_ID))
    await service.chassis.handle(created)
    assert await reservations(service) == {}
    await service.chassis.handle(ordered("o1"))
    assert await reservations(service) == {"o1": "REFUSED"}


async def test_discard_of_waiting_letter_leaves_the_others(service: Redriving):
    created, end = ordered("o1"), cancelled("o1")
    await park(service, created, end)
    assert await discard(service, end) is None
    assert [status for _, _, status in await service.letters()] == ["PARKED", "DISCARDED"]


async def test_requested_redrive_survives_a_restart(tmp_path: Path):
    path, rules = tmp_path / "inventory.db", Rules()
    async with redriving(path, rules=rules, is_running=False) as service:
        await park(service, ordered("o1"), cancelled("o1"))
        await park(service, ordered("o2"), order_id="o2")
        is_zero = DEAD_LETTER.c.error.contains("ZeroDivisionError")
        redrive_id = await service.redriver.request(is_zero, by="olga")
    repair(service)
    async with redriving(path, rules=rules) as service:
        assert outcomes(await service.redriver.wait(redrive_id, 10)) == [
            ("OrderCreated", "HANDLED"),
            ("ShipmentCancelled", "HANDLED"),
            ("OrderCreated", "HANDLED"),
        ]


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit"])
async def test_redrive_survives_a_crash(failpoint: str, shop_settings: ShopSettings):
    async with serving(shop_settings):
        pass
    async with redriving(shop_settings.data_dir / "inventory.db", is_running=False) as service:
        keep = partial(_keep, events=[ordered("o1"), cancelled("o1")])
        await service.chassis.writer.run_in_transaction(keep)
    with service_process("inventory", replace(shop_settings, failpoint=failpoint)) as killed:
        assert killed.ended()[0] == EXIT_CODE
    async with serving(shop_settings) as restarted:
        await eventually(lambda: _is_empty(rows_of(restarted.reads, DEAD_LETTER)))
        items = [row["outcome"] for row in await rows_of(restarted.reads, REDRIVE_ITEM)]
        assert items == ["HANDLED", "HANDLED"]
        types = [event.event_type for event in await log_of(restarted.reads, "inventory")]
        assert types == ["StockReservationFailed", "EventRedriven", "EventRedriven"]


def _keep(connection: Connection, events: list[RecordedEvent]) -> None:
    """Letters as if a rule had failed that was corrected since, and a request to redrive them."""
    statuses = [dead_letters.Status.PARKED, *[dead_letters.Status.WAITING] * (len(events) - 1)]
    letters = [dead_letters.unhandled(*pair, "x") for pair in zip(events, statuses, strict=True)]
    dead_letters.keep(connection, letters, now())
    redrives.request(connection, dead_letters.of_entity(events[0].entity_id), by="olga", at=now())


async def test_restored_copy_follows_redrives_and_discards(tmp_path: Path):
    path, copy = tmp_path / "inventory.db", tmp_path / "copy.db"
    created, end, unwanted = ordered("o1"), cancelled("o1"), ordered("o2")
    async with redriving(path) as service:
        await park(service, created, end)
        await park(service, unwanted, order_id="o2")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", [str(copy)])
        number = len(await service.chassis.log())
        repair(service)
        await service.redrive("o1")
        await discard(service, unwanted, "o2")
        causes = {event.event_id: event for event in (created, end, unwanted)}
        log = await service.chassis.log()
        past = [
            PastEvent(stored(event), 0, causes.get(event.causation_id or ""))
            for event in log[number:]
        ]
        expected = await reservations(service)
    async with redriving(copy) as service:
        continue_log = partial(append_past, past=past, logic=service.rules.logic, catalog=CATALOG)
        await service.chassis.writer.run_in_transaction(continue_log)
        assert await service.chassis.log() == log
        assert await reservations(service) == expected
        assert await service.letters() == [("o2", "OrderCreated", "DISCARDED")]
        await service.chassis.handle(created, end, unwanted)
        assert await reservations(service) == expected


def changed(event: RecordedEvent, **attributes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(encode(event)) | attributes)


def in_version(event: RecordedEvent, version: int) -> bytes:
    return changed(event, dataschema=f"urn:quadrille:event:{event.event_type}:{version}")


async def test_event_of_later_release_is_handled_after_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, created = tmp_path / "inventory.db", ordered("o1")
    later = receive(created.subject, in_version(created, 3), CATALOG)
    async with redriving(path) as service:
        await service.chassis.handle(later, cancelled("o1"))
        assert await service.redrive("o1") == [
            ("OrderCreated", "AWAITING_UPGRADE"),
            ("ShipmentCancelled", "WAITING"),
        ]
        assert [status for _, _, status in await service.letters()] == [
            "AWAITING_UPGRADE",
            "WAITING",
        ]
    monkeypatch.setattr(OrderCreated, "SCHEMA_VERSION", 3)
    async with redriving(path) as service:
        await eventually(lambda: _is_empty(service.letters()))
        assert await reservations(service) == {"o1": "REFUSED"}
        assert [event.event_type for event in await of_type(service, EventRedriven)] == [
            "OrderCreated",
            "ShipmentCancelled",
        ]


async def test_readable_letter_is_handled_without_restart(
    service: Redriving, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redriver, "CHECK_SECONDS", 0.01)
    created = ordered("o1")
    await service.chassis.handle(receive(created.subject, in_version(created, 3), CATALOG))
    assert await service.redrive("o1") == [("OrderCreated", "AWAITING_UPGRADE")]
    monkeypatch.setattr(OrderCreated, "SCHEMA_VERSION", 3)
    await eventually(lambda: _is_empty(service.letters()))


async def test_redrives_go_on_after_failed_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redriver, "CHECK_SECONDS", 0.01)
    async with redriving(tmp_path / "inventory.db") as service:
        await park(service, ordered("o1"))
        repair(service)
        with structlog.testing.capture_logs() as lines:
            await _rename(service, "redrive_item", "elsewhere")
            await eventually(lambda: "redrive.postponed" in {line["event"] for line in lines})
            await _rename(service, "elsewhere", "redrive_item")
        assert await service.redrive("o1") == [("OrderCreated", "HANDLED")]


async def test_retried_letter_behind_failure_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A letter of a later release that a rebuild kept is tried once when it can be read, not every minute."""
    monkeypatch.setattr(redriver, "CHECK_SECONDS", 0.01)
    async with redriving(tmp_path / "inventory.db") as service:
        created = ordered("o1")
        await park(service, created, cancelled("o1"))
        is_second = DEAD_LETTER.c.status == "WAITING"
        to_awaiting = DEAD_LETTER.update().where(is_second).values(status="AWAITING_UPGRADE")
        await service.chassis.writer.run_in_transaction(
            lambda connection: connection.execute(to_awaiting).close()
        )
        await eventually(lambda: _are(service, "PARKED", "WAITING"))
        requests = await service.chassis.rows(REDRIVE)
        assert [row["requested_by"] for row in requests] == ["upgrade"]


async def _are(service: Redriving, *statuses: str) -> bool:
    return tuple(status for _, _, status in await service.letters()) == statuses


async def _rename(service: Redriving, table: str, name: str) -> None:
    await service.chassis.writer.run_in_transaction(
        lambda connection: connection.exec_driver_sql(
            f"ALTER TABLE {table} RENAME TO {name}"
        ).close()
    )


def catalog_with_upcaster() -> Catalog:
    types = [kind for kind in CATALOG.event_types.values() if kind.SOURCE]
    upcasters = {("OrderCreated", 2): lambda data: data}
    return Catalog(types, key_issuer="order", upcasters=upcasters)


@pytest.mark.parametrize("is_resent", [False, True])
async def test_letter_is_read_with_a_new_upcaster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_resent: bool
):
    path, created = tmp_path / "inventory.db", ordered("o1")
    old = in_version(created, 2)
    monkeypatch.setattr(OrderCreated, "SCHEMA_VERSION", 3)
    unreadable = receive(created.subject, old, CATALOG)
    assert isinstance(unreadable, MalformedMessage)
    async with redriving(path) as service:
        await service.chassis.handle(unreadable)
        assert await service.redrive(unreadable.event_id) == [(None, "FAILED")]
    async with redriving(path, catalog=catalog_with_upcaster()) as service:
        if is_resent:
            await service.chassis.handle(created)
        outcome = "DUPLICATE" if is_resent else "HANDLED"
        assert await service.redrive(unreadable.event_id) == [(None, outcome)]
        assert await reservations(service) == {"o1": "REFUSED"}
        assert await service.letters() == []
        inbox = [row["event_id"] for row in await service.chassis.rows(INBOX)]
        assert inbox == [created.event_id]
        (redriven,) = await of_type(service, EventRedriven)
        assert redriven.event_id == unreadable.event_id


async def test_unreadable_letter_waits_behind_parked_entity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OrderCreated, "SCHEMA_VERSION", 3)
    created = ordered("o1")
    unreadable = receive(created.subject, in_version(created, 2), CATALOG)
    async with redriving(tmp_path / "i.db", catalog=catalog_with_upcaster()) as service:
        await park(service, unreadable, cancelled("o1"))
        assert await service.redrive(unreadable.event_id) == [(None, "WAITING")]
        repair(service)
        await service.redrive("o1")
        assert await service.redrive(unreadable.event_id) == [(None, "HANDLED")]


async def test_stranger_can_only_be_discarded(service: Redriving):
    stranger = MalformedMessage(subject="shop.order.o1.x", body=b"\xff{", error="no event")
    await service.chassis.handle(stranger)
    assert await service.redrive(stranger.event_id) == [(None, "FAILED")]
    assert await discard(service, stranger, stranger.event_id) is None
    (discarded,) = await of_type(service, EventDiscarded)
    assert (discarded.event_id, discarded.event_type, discarded.key) == (
        stranger.event_id,
        None,
        "o1",
    )
