"""The oracle finds nothing in a shop that really ran, and finds every injury done to a copy of its files."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from functools import reduce
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from quadrille.audit.checks import run_checks
from quadrille.audit.fold import differences, fold
from quadrille.audit.shop_snapshot import ShopSnapshot, read_shop
from quadrille.audit.snapshot import DEFINITIONS
from quadrille.audit.tables import history
from quadrille.cli.check import check, command, inspect
from shared.chassis.messages import clock
from tests.support.eventually import eventually
from tests.support.running_shop import Fleet

DAY = "2020-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of a shop that has seen every dance and was stopped with one order under way."""
    with Fleet(tmp_path_factory.mktemp("ran"), carrier_success_rate=1) as fleet:
        asyncio.run(_dance(fleet))
        fleet.terminate("order", "inventory", "shipping", "notifier", "read")
        yield fleet.data_dir


@pytest.fixture
def data(ran: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return shutil.copytree(ran, tmp_path / "data")


async def _dance(fleet: Fleet) -> None:
    await fleet.start()
    await fleet.stock_up(lamp=10, chair=10)
    happy = fleet.order(("lamp", 2), ("chair", 1), ("lamp", 1), email="jane@example.com")
    refused = fleet.order(("lamp", 99))
    await fleet.until(happy["orderId"], "COMPLETED")
    await fleet.until(refused["orderId"], "CANCELLED_NO_STOCK")
    await _restart_shipping(fleet, carrier_success_rate="0")
    failed = fleet.order(("chair", 3))
    await fleet.until(failed["orderId"], "SHIPMENT_FAILED")
    await fleet.settle()
    await _restart_shipping(fleet, carrier_min_delay_seconds="500", carrier_max_delay_seconds="500")
    fleet.order(("lamp", 1))
    await eventually(lambda: _is_booked(fleet.data_dir))


async def _restart_shipping(fleet: Fleet, **settings: str) -> None:
    fleet.terminate("shipping")
    fleet.start_service("shipping", **settings)
    await fleet.until_ready("shipping")


def _is_booked(data: Path) -> bool:
    waiting = {(each.service, each.what) for each in inspect(data).pending}
    return waiting == {("order", "deadline tasks"), ("shipping", "booking tasks")}


def _injure(data: Path, service: str, *statements: str) -> None:
    connection = sqlite3.connect(data / f"{service}.db")
    with connection:
        changed = [connection.execute(statement).rowcount for statement in statements]
    connection.close()
    assert all(changed), "no row was hurt"


def test_a_shop_that_ran_is_sound(ran):
    assert check(ran) == []


def test_what_is_on_its_way_is_no_fault_but_is_shown(ran):
    report = inspect(ran)
    assert report.ok
    shown = {(each.service, each.what, each.count) for each in report.pending}
    assert shown == {("order", "deadline tasks", 1), ("shipping", "booking tasks", 1)}
    assert report.orders["AWAITING_SHIPMENT"] == 1


def test_an_event_the_broker_refuses_is_named(data):
    _injure(
        data,
        "order",
        "UPDATE event_log SET stream_seq = NULL, refusal = 'too large' WHERE position = 2",
    )
    report = inspect(data)
    assert report.ok
    (notice,) = [each for each in report.warnings if each.entity == "event 2"]
    assert notice.service == "order"
    assert notice.what.startswith("the broker refuses ")
    assert notice.what.endswith(": too large")
    assert {each.what for each in report.pending} == {"deadline tasks", "booking tasks"}


INJURIES = {
    "a reserved count raised": (
        "inventory",
        "UPDATE products SET reserved = reserved + 1 WHERE product_id = 'chair'",
        {"stock", "rows"},
    ),
    "a reserved count lost": (
        "inventory",
        "UPDATE products SET reserved = 0 WHERE product_id = 'lamp'",
        {"stock", "rows"},
    ),
    "goods never deducted": (
        "inventory",
        "UPDATE products SET on_hand = 10 WHERE product_id = 'lamp'",
        {"stock", "rows"},
    ),
    "goods still held for a delivered order": (
        "inventory",
        "UPDATE reservations SET status = 'RESERVED' WHERE status = 'DEDUCTED'",
        {"stock", "rows", "agreement"},
    ),
    "goods not released": (
        "inventory",
        "UPDATE reservations SET status = 'RESERVED' WHERE status = 'RELEASED'",
        {"stock", "rows", "agreement"},
    ),
    "a partial reservation": (
        "inventory",
        """
        UPDATE event_log SET data = json_remove(data, '$.items[1]')
        WHERE event_type = 'StockReserved' AND json_array_length(data, '$.items') = 2
        """,
        {"goods", "rows", "copies", "views"},
    ),
    "an order moved backwards": (
        "order",
        "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'",
        {"rows", "deadlines"},
    ),
    "an order completed out of nothing": (
        "order",
        "UPDATE orders SET status = 'COMPLETED' WHERE status = 'CANCELLED_NO_STOCK'",
        {"rows", "agreement"},
    ),
    "a price the catalogue never had": (
        "order",
        "UPDATE list_prices SET price = 1 WHERE product_id = 'chair'",
        {"rows"},
    ),
    "an order nobody watches": (
        "order",
        "DELETE FROM task WHERE kind = 'deadline'",
        {"deadlines"},
    ),
    "a shipment whose carrier is never asked": (
        "shipping",
        "DELETE FROM task WHERE kind = 'booking'",
        {"bookings"},
    ),
    "a shipment that failed for a delivered order": (
        "shipping",
        "UPDATE shipments SET status = 'FAILED' WHERE status = 'COMPLETED'",
        {"rows", "agreement"},
    ),
    "an address lost": (
        "shipping",
        "UPDATE awaited_orders SET is_created = 0",
        {"rows"},
    ),
    "a hole in a log": (
        "order",
        "DELETE FROM event_log WHERE event_type = 'OrderConfirmed'",
        {"positions", "versions", "rows", "copies", "views"},
    ),
    "a log's end cut off": (
        "order",
        "DELETE FROM event_log WHERE position = (SELECT max(position) FROM event_log)",
        {"rows", "copies", "views"},
    ),
    "a beginning nobody remembers": (
        "order",
        "DELETE FROM event_log WHERE event_type = 'OrderCreated'",
        {"positions", "versions", "causes", "inbox_orphans", "rows", "goods", "copies", "views"},
    ),
    "a version skipped": (
        "inventory",
        "UPDATE event_log SET version = 7 WHERE event_type = 'StockDeducted'",
        {"versions"},
    ),
    "an event filed under another": (
        "shipping",
        "UPDATE event_log SET entity_id = 'another' WHERE event_type = 'ShipmentFailed'",
        {"words", "versions"},
    ),
    "an effect without a cause": (
        "inventory",
        "UPDATE event_log SET causation_id = 'nothing' WHERE event_type = 'StockDeducted'",
        {"causes", "copies"},
    ),
    "an effect of another story": (
        "inventory",
        "UPDATE event_log SET correlation_id = 'another' WHERE event_type = 'StockDeducted'",
        {"causes", "copies"},
    ),
    "an event forgotten by who acted on it": (
        "inventory",
        """
        DELETE FROM inbox WHERE event_id IN
        (SELECT causation_id FROM event_log WHERE event_type = 'StockReserved')
        """,
        {"causes"},
    ),
    "an event heard that nobody said": (
        "order",
        f"INSERT INTO inbox (event_id, heard_at) VALUES ('phantom', '{DAY}')",
        {"inbox_orphans"},
    ),
    "stock deducted twice": (
        "inventory",
        """
        INSERT INTO event_log SELECT (SELECT max(position) + 1 FROM event_log), 'again', entity_id,
        version + 1, event_type, schema_version, data, causation_id, correlation_id, traceparent,
        recorded_at, stream_seq, resends, refusal FROM event_log WHERE event_type = 'StockDeducted'
        """,
        {"stock", "rows", "ends"},
    ),
    "an order that ended twice": (
        "order",
        """
        INSERT INTO event_log SELECT (SELECT max(position) + 1 FROM event_log), 'again', entity_id,
        version + 1, 'OrderFailed', schema_version, json_insert(data, '$.reason', 'why'),
        causation_id, correlation_id, traceparent, recorded_at, stream_seq, resends, refusal
        FROM event_log WHERE event_type = 'OrderCompleted'
        """,
        {"rows", "ends"},
    ),
    "a mail forgotten": (
        "notifier",
        "DELETE FROM notifications WHERE template = 'delivered'",
        {"rows", "mails"},
    ),
    "a view that lags behind what it has read": (
        "read",
        "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'",
        {"views"},
    ),
    "a view of stock that is not there": (
        "read",
        "UPDATE products SET on_hand = 99 WHERE product_id = 'lamp'",
        {"views"},
    ),
    "an event missing from the combined log": (
        "read",
        "DELETE FROM events WHERE event_type = 'StockReserved'",
        {"copies"},
    ),
    "an event changed in the combined log": (
        "read",
        """
        UPDATE events SET data = json_set(data, '$.trackingNumber', 'X')
        WHERE event_type = 'ShipmentCompleted'
        """,
        {"copies"},
    ),
    "a view ahead of the log": (
        "read",
        "UPDATE positions SET applied = applied + 1 WHERE source = 'shipping'",
        {"copies"},
    ),
    "a state that does not exist": (
        "order",
        "UPDATE orders SET status = 'LOST' WHERE status = 'COMPLETED'",
        {"files"},
    ),
    "an event that can not be decoded": (
        "order",
        "UPDATE event_log SET data = '{}' WHERE event_type = 'OrderCreated'",
        {"files"},
    ),
    "lines without their reservation": (
        "inventory",
        "DELETE FROM reservations WHERE status = 'DEDUCTED'",
        {"files"},
    ),
    "a table missing": (
        "shipping",
        "DROP TABLE awaited_items",
        {"files"},
    ),
}


@pytest.mark.parametrize("injury", INJURIES)
def test_an_injury_is_found(data, injury):
    service, statement, expected = INJURIES[injury]
    _injure(data, service, statement)
    assert {finding.check for finding in check(data)} == expected


def test_a_finding_shows_what_was_expected_and_what_was_found(data):
    _injure(data, "inventory", "UPDATE products SET reserved = 5 WHERE product_id = 'lamp'")
    (finding,) = [finding for finding in check(data) if finding.check == "stock"]
    assert (finding.service, finding.entity) == ("inventory", "product lamp")
    assert finding.expected == "reserved 1: what its reservations hold"
    assert finding.found == "reserved 5"


def test_an_event_unheard_is_on_its_way_and_excuses_its_order(data):
    """As after a crash: the commit of the deduction never happened, the delivery's news comes again."""
    _injure(
        data,
        "inventory",
        "DELETE FROM inbox WHERE event_id IN "
        "(SELECT causation_id FROM event_log WHERE event_type = 'StockDeducted')",
        "UPDATE reservations SET status = 'RESERVED', updated_at = created_at WHERE order_id IN "
        "(SELECT entity_id FROM event_log WHERE event_type = 'StockDeducted')",
        "UPDATE products SET reserved = reserved + 3, on_hand = on_hand + 3 WHERE product_id = 'lamp'",
        "UPDATE products SET reserved = reserved + 1, on_hand = on_hand + 1 WHERE product_id = 'chair'",
    )
    report = inspect(data)
    assert {finding.check for finding in report.findings} == {"rows", "stock", "causes"}
    assert ("inventory", "events to hear") in {(way.service, way.what) for way in report.pending}


def test_events_not_acknowledged_by_the_broker_are_on_their_way(data):
    _injure(data, "order", "UPDATE event_log SET stream_seq = NULL WHERE position > 1")
    report = inspect(data)
    assert report.ok
    assert ("order", "events to send") in {(way.service, way.what) for way in report.pending}


def test_dead_letters_and_overdue_tasks_are_worth_a_look_but_no_contradiction(data):
    _injure(
        data,
        "shipping",
        "INSERT INTO dead_letter (event_id, event_type, key, status, subject, body, error, "
        f"dead_lettered_at) VALUES ('x', 'OrderCreated', 'k', 'PARKED', 's', 'b', 'why', '{DAY}')",
        f"UPDATE task SET due_at = '{DAY}', last_error = 'nobody at home'",
    )
    report = inspect(data)
    assert report.ok
    letter, task = report.warnings
    assert letter.what == "OrderCreated is a dead letter (PARKED): why"
    assert task.what.endswith("overdue, last error: nobody at home")


HELD = "INSERT INTO held_events (source, position, event_id, subject, body) "


def test_held_rival_of_applied_event_is_noted(data):
    _injure(
        data,
        "read",
        f"{HELD} VALUES ('order', 1, 'forged', 's', 'b')",
        f"{HELD} VALUES ('order', 900000, 'distant', 's', 'b')",
    )
    report = inspect(data)
    assert report.ok
    assert [(notice.entity, notice.what) for notice in report.warnings] == [
        ("order 1", "event forged (not in the log) is held; another was applied at its position"),
        ("order 900000", "event distant (not in the log) is held"),
    ]


def test_forged_event_applied_in_place_of_the_true_one_is_found(data):
    own = "SELECT 'order', position, event_id, 's', 'b' FROM events"
    _injure(
        data,
        "read",
        f"{HELD} {own} WHERE source = 'order' AND position = 1",
        "UPDATE events SET event_id = 'forged' WHERE source = 'order' AND position = 1",
    )
    report = inspect(data)
    assert {finding.check for finding in report.findings} == {"copies"}
    assert "event_id forged" in report.findings[0].found
    [notice] = report.warnings
    assert "(the log's own) is held; another was applied at its position" in notice.what


def test_what_an_inbox_may_have_forgotten_is_not_missed(data):
    _injure(data, "order", "DELETE FROM inbox")
    shop = read_shop(data)
    later = clock.now() + timedelta(days=3)
    assert (
        run_checks(ShopSnapshot(shop.services, shop.projection, later, inbox_retention_days=2))
        == []
    )
    assert {finding.check for finding in run_checks(shop)} == {"causes", "rows"}


def test_a_read_database_that_is_gone_makes_itself_anew(data):
    (data / "read.db").unlink()
    report = inspect(data)
    assert report.ok
    assert [notice.entity for notice in report.warnings] == ["read.db"]


def test_a_missing_database_is_said(data):
    (data / "shipping.db").unlink()
    (finding,) = check(data)
    assert finding.found == f"{data / 'shipping.db'} does not exist"


def test_a_file_that_is_no_database_is_said(data):
    (data / "order.db").write_bytes(b"so long" * 1000)
    (finding,) = check(data)
    assert finding.found == f"{data / 'order.db'} can not be read: file is not a database"


def test_a_database_with_a_torn_page_is_said(data):
    pages = bytearray((data / "inventory.db").read_bytes())
    for start in range(4096, len(pages), 4096):
        pages[start : start + 64] = b"\xff" * 64
    (data / "inventory.db").write_bytes(pages)
    (finding,) = check(data)
    assert "inventory.db" in finding.found


def test_a_directory_without_a_shop_is_said(tmp_path):
    (finding,) = check(tmp_path)
    assert finding.found == f"{tmp_path} holds no databases of a shop"


def test_checking_changes_nothing(data):
    before = {file.name: file.read_bytes() for file in data.glob("*.db")}
    check(data)
    assert {file.name: file.read_bytes() for file in data.glob("*.db")} == before


def test_folding_part_by_part_is_folding_the_whole(ran):
    shop = read_shop(ran)
    for definition in DEFINITIONS:
        events = list(history(shop, shop.service(definition.name)))
        whole = reduce(definition.evolve, events, definition.nothing)
        folded = fold(definition.nothing, definition.evolve, events)
        assert list(differences(folded, whole)) == []
        assert events


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_the_command_says_that_all_is_well(ran):
    done = _run("--data-dir", str(ran))
    assert done.exit_code == 0
    assert "All is as it should be." in done.output


def test_the_command_shows_the_evidence_and_fails(data):
    _injure(data, "order", "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'")
    done = _run("--data-dir", str(data))
    assert done.exit_code == 1
    assert "expected  status COMPLETED\n      found     status PENDING" in done.output


def test_the_command_speaks_to_scripts(data):
    _injure(data, "order", "DELETE FROM task")
    done = _run("--data-dir", str(data), "--json")
    assert done.exit_code == 1
    report = msgspec.json.decode(done.output)
    assert report["ok"] is False
    assert report["findings"][0]["check"] == "deadlines"
