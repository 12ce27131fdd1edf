"""The audit finds no violation in the databases of a shop that ran, and every damage done to a copy of them."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from functools import reduce
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import asdict

from order_service.orders.domain import PlaceOrder, RequestedItem
from quadrille.audit.checks import run_checks
from quadrille.audit.deadlines import Deadlines
from quadrille.audit.fold import differences, fold
from quadrille.audit.repairs import Repair, find_repairs
from quadrille.audit.report import audit
from quadrille.audit.shop_snapshot import ShopSnapshot, read_shop
from quadrille.audit.snapshot import DEFINITIONS
from quadrille.audit.tables import history
from quadrille.audit.violation import Violation
from quadrille.cli.check import check
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import RecordedEvent
from tests.support.chassis import ORDER, writing
from tests.support.eventually import eventually
from tests.support.redriving import Redriving, redriving
from tests.support.running_shop import RunningShop

README = (Path(__file__).parents[2] / "README.md").read_text()
DAY = "2020-01-01T00:00:00.000000Z"


def _violations(data: Path) -> list[Violation]:
    return list(audit(data).violations)


def _violated(data: Path) -> set[str]:
    """The names of the checks that fail."""
    return {violation.check for violation in audit(data).violations}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The databases after each saga outcome, of a shop that was stopped with one open order."""
    with RunningShop(tmp_path_factory.mktemp("ran"), carrier_success_rate=1) as shop:
        asyncio.run(_run_sagas(shop))
        shop.terminate("order", "inventory", "shipping", "notifier", "read")
        yield shop.data_dir


@pytest.fixture
def data(ran: Path, tmp_path: Path) -> Path:
    """A copy for one test to damage."""
    return shutil.copytree(ran, tmp_path / "data")


async def _run_sagas(shop: RunningShop) -> None:
    await shop.start()
    await shop.stock_up(lamp=10, chair=10)
    completed = shop.guest.order(("lamp", 2), ("chair", 1), ("lamp", 1), email="jane@example.com")
    cancelled = shop.guest.order(("lamp", 99))
    await shop.until(completed["orderId"], "COMPLETED")
    await shop.until(cancelled["orderId"], "CANCELLED_NO_STOCK")
    await _restart_shipping(shop, carrier_success_rate="0")
    failed = shop.guest.order(("chair", 3))
    await shop.until(failed["orderId"], "SHIPMENT_FAILED")
    await shop.settle()
    await _restart_shipping(shop, carrier_min_delay_seconds="500", carrier_max_delay_seconds="500")
    shop.guest.order(("lamp", 1))
    await eventually(lambda: _is_booked(shop.data_dir))


async def _restart_shipping(shop: RunningShop, **settings: str) -> None:
    shop.terminate("shipping")
    shop.start_service("shipping", **settings)
    await shop.until_ready("shipping")


def _is_booked(data: Path) -> bool:
    pending = {(work.service, work.what) for work in audit(data).pending}
    return pending == {("order", "deadline tasks"), ("shipping", "booking tasks")}


def _damage(data: Path, service: str, *statements: str) -> None:
    connection = sqlite3.connect(data / f"{service}.db")
    with connection:
        changed = [connection.execute(statement).rowcount for statement in statements]
    connection.close()
    assert all(changed), "no row was changed"


def test_audit_of_stopped_shop_finds_nothing(ran):
    assert _violations(ran) == []


def test_pending_tasks_are_no_violation(ran):
    report = audit(ran)
    assert report.ok
    pending = {(work.service, work.what, work.count) for work in report.pending}
    assert pending == {("order", "deadline tasks", 1), ("shipping", "booking tasks", 1)}
    assert report.orders["AWAITING_SHIPMENT"] == 1


def test_event_refused_by_broker_is_a_warning(data):
    _damage(
        data,
        "order",
        "UPDATE event_log SET stream_seq = NULL, refusal = 'too large' WHERE position = 2",
    )
    report = audit(data)
    assert report.ok
    [warning] = [warning for warning in report.warnings if warning.entity == "event 2"]
    assert warning.service == "order"
    assert warning.what.startswith("the broker refuses ")
    assert warning.what.endswith(": too large")
    assert {work.what for work in report.pending} == {"deadline tasks", "booking tasks"}


DAMAGES = {
    "reserved count too high": (
        "inventory",
        "UPDATE products SET reserved = reserved + 1 WHERE product_id = 'chair'",
        {"stock", "rows"},
    ),
    "reserved count lost": (
        "inventory",
        "UPDATE products SET reserved = 0 WHERE product_id = 'lamp'",
        {"stock", "rows"},
    ),
    "stock not deducted": (
        "inventory",
        "UPDATE products SET on_hand = 10 WHERE product_id = 'lamp'",
        {"stock", "rows"},
    ),
    "stock still reserved for a completed order": (
        "inventory",
        "UPDATE reservations SET status = 'RESERVED' WHERE status = 'DEDUCTED'",
        {"stock", "rows", "agreement"},
    ),
    "stock not released": (
        "inventory",
        "UPDATE reservations SET status = 'RESERVED' WHERE status = 'RELEASED'",
        {"stock", "rows", "agreement"},
    ),
    "partial reservation": (
        "inventory",
        """
        UPDATE event_log SET data = json_remove(data, '$.items[1]')
        WHERE event_type = 'StockReserved' AND json_array_length(data, '$.items') = 2
        """,
        {"quantities", "rows", "archive", "read_model"},
    ),
    "order set back to an earlier status": (
        "order",
        "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'",
        {"rows", "deadlines"},
    ),
    "order completed without events": (
        "order",
        "UPDATE orders SET status = 'COMPLETED' WHERE status = 'CANCELLED_NO_STOCK'",
        {"rows", "agreement"},
    ),
    "price that no event set": (
        "order",
        "UPDATE list_prices SET price = 1 WHERE product_id = 'chair'",
        {"rows"},
    ),
    "open order without a deadline": (
        "order",
        "DELETE FROM task WHERE kind = 'deadline'",
        {"deadlines"},
    ),
    "shipment without a booking task": (
        "shipping",
        "DELETE FROM task WHERE kind = 'booking'",
        {"bookings"},
    ),
    "failed shipment of a completed order": (
        "shipping",
        "UPDATE shipments SET status = 'FAILED' WHERE status = 'COMPLETED'",
        {"rows", "agreement"},
    ),
    "received order lost": (
        "shipping",
        "UPDATE awaited_orders SET is_created = 0",
        {"rows"},
    ),
    "gap in a log": (
        "order",
        "DELETE FROM event_log WHERE event_type = 'OrderConfirmed'",
        {"positions", "versions", "rows", "archive", "read_model"},
    ),
    "end of a log missing": (
        "order",
        "DELETE FROM event_log WHERE position = (SELECT max(position) FROM event_log)",
        {"rows", "archive", "read_model"},
    ),
    "first event of an order missing": (
        "order",
        "DELETE FROM event_log WHERE event_type = 'OrderCreated'",
        {
            "positions",
            "versions",
            "causes",
            "inbox_orphans",
            "rows",
            "quantities",
            "archive",
            "read_model",
        },
    ),
    "version skipped": (
        "inventory",
        "UPDATE event_log SET version = 7 WHERE event_type = 'StockDeducted'",
        {"versions"},
    ),
    "event of another entity": (
        "shipping",
        "UPDATE event_log SET entity_id = 'another' WHERE event_type = 'ShipmentFailed'",
        {"ownership", "versions"},
    ),
    "event without a cause": (
        "inventory",
        "UPDATE event_log SET causation_id = 'nothing' WHERE event_type = 'StockDeducted'",
        {"causes", "archive"},
    ),
    "event with another correlation id": (
        "inventory",
        "UPDATE event_log SET correlation_id = 'another' WHERE event_type = 'StockDeducted'",
        {"causes", "archive"},
    ),
    "cause missing in the inbox": (
        "inventory",
        """
        DELETE FROM inbox WHERE event_id IN
        (SELECT causation_id FROM event_log WHERE event_type = 'StockReserved')
        """,
        {"causes"},
    ),
    "inbox row of an unknown event": (
        "order",
        f"INSERT INTO inbox (event_id, processed_at) VALUES ('phantom', '{DAY}')",
        {"inbox_orphans"},
    ),
    "stock deducted twice": (
        "inventory",
        """
        INSERT INTO event_log SELECT (SELECT max(position) + 1 FROM event_log), 'again', entity_id,
        version + 1, event_type, schema_version, data, causation_id, correlation_id, traceparent,
        recorded_at, stream_seq, resends, refusal, actor FROM event_log WHERE event_type = 'StockDeducted'
        """,
        {"stock", "rows", "outcomes"},
    ),
    "order with two final events": (
        "order",
        """
        INSERT INTO event_log SELECT (SELECT max(position) + 1 FROM event_log), 'again', entity_id,
        version + 1, 'OrderFailed', schema_version, json_insert(data, '$.reason', 'why'),
        causation_id, correlation_id, traceparent, recorded_at, stream_seq, resends, refusal, actor
        FROM event_log WHERE event_type = 'OrderCompleted'
        """,
        {"rows", "outcomes"},
    ),
    "mail missing": (
        "notifier",
        "DELETE FROM notifications WHERE template = 'delivered'",
        {"rows", "mails"},
    ),
    "read model behind its position": (
        "read",
        "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'",
        {"read_model"},
    ),
    "read model with too much stock": (
        "read",
        "UPDATE products SET on_hand = 99 WHERE product_id = 'lamp'",
        {"read_model"},
    ),
    "event missing in the archive": (
        "read",
        "DELETE FROM events WHERE event_type = 'StockReserved'",
        {"archive"},
    ),
    "event changed in the archive": (
        "read",
        """
        UPDATE events SET data = json_set(data, '$.trackingNumber', 'X')
        WHERE event_type = 'ShipmentCompleted'
        """,
        {"archive"},
    ),
    "read position beyond the log": (
        "read",
        "UPDATE positions SET applied = applied + 1 WHERE source = 'shipping'",
        {"archive"},
    ),
    "unknown status": (
        "order",
        "UPDATE orders SET status = 'LOST' WHERE status = 'COMPLETED'",
        {"files"},
    ),
    "event that cannot be decoded": (
        "order",
        "UPDATE event_log SET data = '{}' WHERE event_type = 'OrderCreated'",
        {"files"},
    ),
    "lines without their reservation": (
        "inventory",
        "DELETE FROM reservations WHERE status = 'DEDUCTED'",
        {"files"},
    ),
    "table missing": (
        "shipping",
        "DROP TABLE awaited_items",
        {"files"},
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_violates_checks(data, damage):
    service, statement, expected = DAMAGES[damage]
    _damage(data, service, statement)
    assert _violated(data) == expected


def test_damaged_log_names_its_file_and_remedy(data):
    _damage(data, "order", "DELETE FROM event_log WHERE event_type = 'OrderConfirmed'")
    result = _run("--data-dir", str(data))
    assert "→ the log in order.db is damaged" in result.output
    assert "run quadrille reconcile order" in result.output


def test_violation_has_expected_and_found_value(data):
    _damage(data, "inventory", "UPDATE products SET reserved = 5 WHERE product_id = 'lamp'")
    [violation] = [entry for entry in _violations(data) if entry.check == "stock"]
    assert (violation.service, violation.entity) == ("inventory", "product lamp")
    assert violation.expected == "reserved 1: the sum of the reservations"
    assert violation.actual == "reserved 5"


def test_order_with_pending_event_may_disagree(data):
    """As after a crash before the commit of the deduction: ShipmentCompleted is delivered again."""
    _damage(
        data,
        "inventory",
        "DELETE FROM inbox WHERE event_id IN "
        "(SELECT causation_id FROM event_log WHERE event_type = 'StockDeducted')",
        "UPDATE reservations SET status = 'RESERVED', updated_at = created_at WHERE order_id IN "
        "(SELECT entity_id FROM event_log WHERE event_type = 'StockDeducted')",
        "UPDATE products SET reserved = reserved + 3, on_hand = on_hand + 3 WHERE product_id = 'lamp'",
        "UPDATE products SET reserved = reserved + 1, on_hand = on_hand + 1 WHERE product_id = 'chair'",
    )
    report = audit(data)
    assert {violation.check for violation in report.violations} == {"rows", "stock", "causes"}
    assert ("inventory", "events to handle") in {
        (work.service, work.what) for work in report.pending
    }


def test_unacknowledged_events_are_pending(data):
    _damage(data, "order", "UPDATE event_log SET stream_seq = NULL WHERE position > 1")
    report = audit(data)
    assert report.ok
    assert ("order", "events to publish") in {(work.service, work.what) for work in report.pending}


def test_dead_letters_and_overdue_tasks_are_warnings(data):
    _damage(
        data,
        "shipping",
        "INSERT INTO dead_letter (event_id, event_type, entity_id, status, subject, body, error, "
        f"dead_lettered_at) VALUES ('x', 'OrderCreated', 'k', 'PARKED', 's', x'62', 'why', '{DAY}')",
        f"UPDATE task SET due_at = '{DAY}', last_error = 'timeout'",
    )
    report = audit(data)
    assert report.ok
    letter, task = report.warnings
    assert letter.what == "OrderCreated is a dead letter (PARKED): why"
    assert task.what.endswith("overdue, last error: timeout")


async def _park_new_order(data: Path, inventory: Redriving) -> RecordedEvent:
    """Place an order whose reservation fails."""
    async with writing(data / "order.db", ORDER) as order:
        item = RequestedItem(product_id="lamp", quantity=1)
        place = PlaceOrder(order_id="late", user_id="jane", items=(item,), currency="JPY")
        await order.execute(place)
        created = (await order.log())[-1]
        inventory.rules.faulty.add("late")
        await inventory.chassis.handle(created)
    assert audit(data).ok
    return created


async def test_redriven_event_is_no_violation(data):
    async with redriving(data / "inventory.db") as inventory:
        created = await _park_new_order(data, inventory)
        [letter] = audit(data).warnings
        assert (letter.entity, "(PARKED)" in letter.what) == ("late", True)
        inventory.rules.faulty.clear()
        assert await inventory.redrive("late") == [("OrderCreated", "HANDLED")]
        events = [event.event_type for event in await inventory.chassis.log()]
        assert events[-3:] == ["EventDeadLettered", "StockReserved", "EventRedriven"]
        report = audit(data)
        assert (report.violations, report.warnings) == ([], [])
        assert created.event_id in read_shop(data).inventory.inbox


async def test_discarded_event_is_no_violation(data):
    async with redriving(data / "inventory.db") as inventory:
        created = await _park_new_order(data, inventory)
        await inventory.redriver.discard("late", created.event_id, by="olga", reason="a test")
        report = audit(data)
        assert (report.violations, report.warnings) == ([], [])


STUCK = {
    "event not published": (
        "order",
        "UPDATE event_log SET stream_seq = NULL WHERE position = 3",
        ("order", "an event of order", "published within 0 s"),
        Repair(
            service="order",
            path=("events", "resend"),
            body={"from": 3, "to": 3},
            what="publishes event 3 again",
        ),
    ),
    "event not applied": (
        "read",
        "UPDATE positions SET applied = applied - 1 WHERE source = 'shipping'",
        ("read", "an event of shipping", "applied within 0 s"),
        Repair(
            service="shipping",
            path=("events", "resend"),
            body={"from": 6, "to": 6},
            what="publishes event 6 again",
        ),
    ),
    "task not executed": (
        "shipping",
        f"UPDATE task SET due_at = '{DAY}', task_key = 'o1'",
        ("shipping", "booking task o1", "executed when due"),
        Repair(
            service="shipping",
            path=("tasks", "booking", "o1", "run"),
            what="executes the booking task o1",
        ),
    ),
}


@pytest.mark.parametrize("stuck", STUCK)
def test_stuck_work_is_a_violation(data, stuck):
    service, statement, expected, repair = STUCK[stuck]
    _damage(data, service, statement)
    shop = read_shop(data, deadlines=Deadlines.of(0))
    violations = {
        (violation.service, violation.entity, violation.expected)
        for violation in run_checks(shop)
        if violation.check == "progress"
    }
    assert violations == {expected}
    assert find_repairs(shop, run_checks(shop)) == [repair]
    assert "progress" not in _violated(data), "it may wait while no service runs"


def test_held_event_is_stuck_until_forgotten(data):
    _damage(data, "read", f"{HELD} VALUES ('order', 1, 'forged', 's', 'b')")
    shop = read_shop(data, deadlines=Deadlines())
    [violation] = [entry for entry in run_checks(shop) if entry.check == "progress"]
    assert violation.entity == "event forged at order 1"
    assert "quadrille forget" in violation.expected


def test_unhandled_events_are_published_again(data):
    _damage(
        data,
        "shipping",
        "DELETE FROM inbox WHERE event_id IN (SELECT event_id FROM inbox LIMIT 2)",
    )
    shop = read_shop(data, deadlines=Deadlines.of(0))
    stuck = {violation.expected for violation in run_checks(shop) if violation.check == "progress"}
    assert stuck == {"handled within 0 s"}
    assert {repair.path for repair in find_repairs(shop, ())} == {("events", "resend")}


def test_parked_entity_is_tried_again(data):
    letters = (
        "INSERT INTO dead_letter (event_id, event_type, entity_id, status, subject, body, error, "
        f"dead_lettered_at) VALUES ('x', 'OrderCreated', 'k', 'PARKED', 's', x'62', 'why', '{DAY}')"
    )
    _damage(data, "shipping", letters)
    [repair] = find_repairs(read_shop(data), ())
    assert (repair.service, repair.path) == ("shipping", ("dead-letters", "k", "redrive"))


def test_changed_tables_are_rebuilt_from_intact_events(data):
    _damage(data, "shipping", "UPDATE shipments SET status = 'FAILED' WHERE status = 'COMPLETED'")
    _damage(data, "read", "UPDATE products SET on_hand = 99 WHERE product_id = 'lamp'")
    shop = read_shop(data)
    rebuilds = {repair.service for repair in find_repairs(shop, run_checks(shop))}
    assert rebuilds == {"shipping", "read"}
    _damage(data, "shipping", "DELETE FROM event_log WHERE event_type = 'ShipmentFailed'")
    _damage(data, "read", "DELETE FROM events WHERE event_type = 'StockReserved'")
    shop = read_shop(data)
    assert find_repairs(shop, run_checks(shop)) == []


HELD = "INSERT INTO held_events (source, position, event_id, subject, body) "


def test_held_forged_event_is_a_warning(data):
    _damage(
        data,
        "read",
        f"{HELD} VALUES ('order', 1, 'forged', 's', 'b')",
        f"{HELD} VALUES ('order', 900000, 'distant', 's', 'b')",
    )
    report = audit(data)
    assert report.ok
    assert [(warning.entity, warning.what) for warning in report.warnings] == [
        ("order 1", "event forged (not in the log) is held; another was applied at its position"),
        ("order 900000", "event distant (not in the log) is held"),
    ]


def test_applied_forged_event_is_a_violation(data):
    own = "SELECT 'order', position, event_id, 's', 'b' FROM events"
    _damage(
        data,
        "read",
        f"{HELD} {own} WHERE source = 'order' AND position = 1",
        "UPDATE events SET event_id = 'forged' WHERE source = 'order' AND position = 1",
    )
    report = audit(data)
    assert {violation.check for violation in report.violations} == {"archive"}
    assert "event_id forged" in report.violations[0].actual
    [warning] = report.warnings
    assert "(in the log) is held; another was applied at its position" in warning.what


def test_deleted_inbox_rows_are_not_missed(data):
    _damage(data, "order", "DELETE FROM inbox")
    shop = read_shop(data)
    services = {service.name: service for service in shop.services}
    later = clock.now() + timedelta(days=3)
    assert run_checks(ShopSnapshot(services, shop.read, later, inbox_retention_days=2)) == []
    assert {violation.check for violation in run_checks(shop)} == {"causes", "rows"}


def test_missing_read_database_is_a_warning(data):
    (data / "read.db").unlink()
    report = audit(data)
    assert report.ok
    assert [warning.entity for warning in report.warnings] == ["read.db"]


def test_missing_database_is_a_violation(data):
    (data / "shipping.db").unlink()
    [violation] = _violations(data)
    assert violation.actual == f"{data / 'shipping.db'} does not exist"
    assert "quadrille reconcile shipping" in violation.remedy


def test_file_of_other_format_is_a_violation(data):
    (data / "order.db").write_bytes(b"so long" * 1000)
    [violation] = _violations(data)
    assert violation.actual == f"{data / 'order.db'} cannot be read: file is not a database"


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        ("format = 1", "was made by an older release: start the order service once"),
        ("format = 99", "was made by a newer release"),
        ("service = 'inventory'", "is the database of inventory, not of order"),
    ],
)
def test_database_of_other_release_is_a_violation(data, identity, sentence):
    _damage(data, "order", f"UPDATE database_identity SET {identity}", "DROP TABLE inbox")
    [violation] = _violations(data)
    assert violation.actual.startswith(f"{data / 'order.db'} {sentence}")


def test_empty_database_is_a_violation(data):
    (data / "order.db").write_bytes(b"")
    [violation] = _violations(data)
    assert violation.actual == f"{data / 'order.db'} has no tables: start the order service once"


def test_database_with_torn_pages_is_a_violation(data):
    pages = bytearray((data / "inventory.db").read_bytes())
    for start in range(4096, len(pages), 4096):
        pages[start : start + 64] = b"\xff" * 64
    (data / "inventory.db").write_bytes(pages)
    [violation] = _violations(data)
    assert "inventory.db" in violation.actual
    assert "quadrille reconcile inventory" in violation.remedy


def test_directory_without_databases_is_a_violation(tmp_path):
    [violation] = _violations(tmp_path)
    assert violation.actual == f"{tmp_path} contains no databases of a shop"


def test_audit_changes_no_file(data):
    before = {file.name: file.read_bytes() for file in data.glob("*.db")}
    audit(data)
    assert {file.name: file.read_bytes() for file in data.glob("*.db")} == before


def test_fold_by_entity_equals_whole_fold(ran):
    shop = read_shop(ran)
    for definition in DEFINITIONS:
        events = list(history(shop, shop.service(definition.name)))
        whole = reduce(definition.evolve, events, definition.initial)
        folded = fold(definition.initial, definition.evolve, events)
        assert list(differences(folded, asdict(whole))) == []
        assert events


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(check, arguments)


def test_command_prints_that_no_problem_was_found(ran):
    result = _run("--data-dir", str(ran))
    assert result.exit_code == 0
    assert result.output.endswith("\nNo problems found.\n")
    [readme] = re.findall(r"quadrille check\n(.*?)```", README, re.DOTALL)
    lines = [line for line in readme.splitlines() if line.startswith(("✓", "No"))]
    assert set(lines) <= set(result.output.splitlines())
    assert len(lines) > 1


def test_command_prints_violations_and_fails(data):
    _damage(data, "order", "UPDATE orders SET status = 'PENDING' WHERE status = 'COMPLETED'")
    result = _run("--data-dir", str(data))
    assert result.exit_code == 1
    assert "expected  status COMPLETED\n      found     status PENDING" in result.output


def test_command_prints_report_as_json(data):
    _damage(data, "order", "DELETE FROM task")
    result = _run("--data-dir", str(data), "--json")
    assert result.exit_code == 1
    report = msgspec.json.decode(result.output)
    assert report["ok"] is False
    assert report["findings"][0]["check"] == "deadlines"
