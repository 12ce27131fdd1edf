"""Databases of an earlier release open: kept tables are migrated, derived tables are rebuilt, nothing is lost."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, select

import inventory_service.store
import notifier_service.store
import order_service.app
import order_service.store
import read_api.tables
import shipping_service.store
from quadrille.audit.report import audit
from read_api.rebuild import VERSIONS, derived_tables
from shared.chassis.engine import rebuild
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.errors import FatalError
from shared.chassis.storage import derived_state
from shared.chassis.storage.database import CHASSIS_METADATA, open_for_writing
from shared.chassis.storage.database_identity import FORMAT
from shared.chassis.storage.derived_state import DerivedState
from shared.chassis.storage.migrations import CHASSIS_VERSIONS, migrate
from shared.chassis.storage.task_queue import TASK
from shared.contracts import Address
from shipping_service.carriers import Booking
from tests.support.earlier_release import SERVICES, renamed_columns, unpack, unpack_all
from tests.support.rebuilding import open_and_rebuild

ADDED = {
    "events": {"schema_version", "actor"},
    "mails": {"carrier", "cancelled_by", "explanation"},
    "event_log": {"actor"},
    "dead_letter": {"source", "position", "discarded_at", "discarded_by", "reason"},
}
"""By table: columns that the earlier release did not have."""
CANCELLATIONS = {
    None: None,
    "CUSTOMER": '{"by":"CUSTOMER","reason":null,"note":null}',
    "EXPIRED": '{"by":"DEADLINE","reason":null,"note":null}',
}
ADDRESS = (
    '{"name":"Aiko","city":"Kyoto"}',
    '{"name":"Aiko","lines":[],"postcode":"","city":"Kyoto"}',
)
"""In the earlier release, and in this one."""
IDENTITY = "database_identity"
INTERNAL = ("sqlite_", "product_search", "chassis_version", "service_version", "derived_state")

Rows = Counter[tuple[tuple[str, Any], ...]]
NO_ROWS: Rows = Counter()
Contents = dict[str, Rows]


class Layout(NamedTuple):
    """How a service's database is laid out in this release."""

    service: str
    tables: MetaData
    derived: DerivedTables
    versions: Path | None = None

    def migrate(self, connection: Connection) -> str:
        return migrate(connection, self.service, self.tables, self.derived.tables, self.versions)


LAYOUTS = {
    "order": Layout("order", order_service.store.METADATA, order_service.store.derived_tables()),
    "inventory": Layout(
        "inventory", inventory_service.store.METADATA, inventory_service.store.derived_tables()
    ),
    "shipping": Layout(
        "shipping",
        shipping_service.store.METADATA,
        shipping_service.store.derived_tables(),
        shipping_service.store.VERSIONS,
    ),
    "notifier": Layout(
        "notifier",
        notifier_service.store.METADATA,
        notifier_service.store.derived_tables(),
        notifier_service.store.VERSIONS,
    ),
    "read": Layout("read", read_api.tables.METADATA, derived_tables(), VERSIONS),
}


@pytest.fixture(params=SERVICES)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


async def upgrade(file: Path, layout: Layout) -> str:
    """As the service does at its start; returns the database's id."""
    database = open_for_writing(f"sqlite:///{file}")
    try:
        return await open_and_rebuild(database, *layout)
    finally:
        await database.close()


async def run(file: Path, work: Any) -> Any:
    database = open_for_writing(f"sqlite:///{file}")
    try:
        return await database.run(work)
    finally:
        await database.close()


async def state_of(file: Path) -> DerivedState:
    state = await run(file, derived_state.read)
    assert state is not None
    return state


def contents(file: Path) -> Contents:
    """Every row of every table, by the columns' current names."""
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = [row["name"] for row in tables if not row["name"].startswith(INTERNAL)]
    rows = {name: _rows(connection, name) for name in names}
    connection.close()
    return rows


def _rows(connection: sqlite3.Connection, table: str) -> Rows:
    names = renamed_columns().get(table, {})
    added = ADDED.get(table, set())
    return Counter(
        tuple(
            sorted(
                (names.get(key, key), _as_text(row[key]))
                for key in row.keys()  # noqa: SIM118 - iterating a row gives values
                if key not in added
            )
        )
        for row in connection.execute(f'SELECT * FROM "{table}"')
    )


def _as_text(value: Any) -> Any:
    """Dead letters' bodies were text in the earlier release."""
    return value.decode() if isinstance(value, bytes) else value


def migrated(before: Contents) -> Contents:
    """What becomes of the rows of the earlier release; its logs and its answers stay as they are."""
    return {
        name: rows
        if name in {"event_log", "idempotency_key"}
        else Counter(map(_with_structs, rows.elements()))
        for name, rows in before.items()
    }


def _with_structs(row: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _as_struct(name, value)) for name, value in row)


def _as_struct(name: str, value: Any) -> Any:
    if name == "cancellation":
        return CANCELLATIONS[value]
    return value.replace(*ADDRESS) if isinstance(value, str) else value


def changed_tables(before: Contents, after: Contents, derived: Sequence[Table] = ()) -> set[str]:
    """The tables whose rows differ; of derived ones, which may be new, in the columns of both."""
    names = {str(table.name) for table in derived}
    return {
        name
        for name in before.keys() | after.keys()
        if before.get(name, NO_ROWS) != after.get(name, NO_ROWS)
        and not (name in names and _are_equal_in_common(before.get(name), after[name]))
    }


def _are_equal_in_common(before: Rows | None, after: Rows) -> bool:
    if before is None:
        return True
    columns = _columns(before) & _columns(after)
    return _only(before, columns) == _only(after, columns)


def _columns(rows: Rows) -> set[str]:
    return {name for row in rows for name, _ in row}


def _only(rows: Rows, columns: set[str]) -> Rows:
    counts: Rows = Counter()
    for row, count in rows.items():
        counts[tuple(item for item in row if item[0] in columns)] += count
    return counts


def execute(file: Path, *statements: str) -> None:
    with sqlite3.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_upgrade_keeps_every_row(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    before = contents(file)
    database_id = await upgrade(file, layout)
    assert changed_tables(migrated(before), contents(file), layout.derived.tables) == {IDENTITY}
    ((identity, _),) = before[IDENTITY].items()
    assert dict(identity)["database_id"] == database_id


async def test_upgraded_schema_is_that_of_new_database(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    await upgrade(file, layout)

    def differences(connection: Connection) -> list[Any]:
        options = {"include_object": lambda _object, name, *_: not name.startswith(INTERNAL)}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, [CHASSIS_METADATA, layout.tables]))

    assert await run(file, differences) == []


async def test_upgrade_structures_address_of_due_booking(tmp_path: Path):
    file = unpack("shipping", tmp_path)
    booking = {"shipmentId": "s1", "orderId": "o1", "items": [], "shippingAddress": {"zip": "1"}}
    execute(
        file,
        f"""INSERT INTO task (kind, "key", task_id, payload, due_at, attempts, stuck, correlation_id, first_due_at)
            VALUES ('booking', 'o1', 't1', '{json.dumps(booking)}', '-', 0, 0, 'o1', '-')""",
    )
    await upgrade(file, LAYOUTS["shipping"])
    query = select(TASK.c.payload).where(TASK.c.task_id == "t1")
    payload = await run(file, lambda connection: connection.execute(query).scalar_one())
    address = msgspec.convert(payload, Booking).shipping_address
    assert address == Address(name="", lines=(), postcode="1", city="")


async def test_second_start_changes_nothing(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    first = await upgrade(file, layout)
    before = contents(file), await state_of(file)
    assert await upgrade(file, layout) == first
    assert (contents(file), await state_of(file)) == before


async def test_new_database_needs_no_migration(layout: Layout, tmp_path: Path):
    file = tmp_path / f"{layout.service}.db"
    database_id = await upgrade(file, layout)
    assert await upgrade(file, layout) == database_id
    assert (await state_of(file)).is_complete


async def test_small_batches_rebuild_the_same_rows(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rebuild, "BATCH_EVENTS", 3)
    file = unpack(layout.service, tmp_path)
    before = contents(file)
    await upgrade(file, layout)
    assert changed_tables(migrated(before), contents(file), layout.derived.tables) == {IDENTITY}


async def test_raised_version_rebuilds_damaged_rows(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    before = contents(file)
    await upgrade(file, layout)
    names = [str(table.name) for table in reversed(layout.derived.tables)]
    execute(file, *(f'DELETE FROM "{name}"' for name in names))
    await upgrade(file, layout)
    assert contents(file) != before
    derived = layout.derived._replace(version=layout.derived.version + 1)
    await upgrade(file, layout._replace(derived=derived))
    assert changed_tables(migrated(before), contents(file), layout.derived.tables) == {IDENTITY}


async def test_changed_table_is_rebuilt_without_new_version(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    await upgrade(file, layout)
    before = contents(file)
    execute(file, "UPDATE derived_state SET digest = 'that of another definition'")
    name = layout.derived.tables[0].name
    execute(file, "PRAGMA foreign_keys=OFF", f'DELETE FROM "{name}"')
    await upgrade(file, layout)
    assert contents(file) == before


async def test_table_of_earlier_version_is_dropped(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    await upgrade(file, layout)
    before = contents(file)
    execute(
        file,
        "CREATE TABLE abandoned (id TEXT)",
        """UPDATE derived_state SET digest = '', tables = '["abandoned"]'""",
    )
    await upgrade(file, layout)
    assert contents(file) == before


async def test_interrupted_migration_leaves_the_old_database(layout: Layout, tmp_path: Path):
    file = unpack(layout.service, tmp_path)
    before = contents(file)

    def interrupted(connection: Connection) -> None:
        layout.migrate(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(file, interrupted)
    assert contents(file) == before
    await upgrade(file, layout)
    assert changed_tables(migrated(before), contents(file), layout.derived.tables) == {IDENTITY}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE database_identity SET format = 999",
        "UPDATE chassis_version SET version_num = '999'",
        "UPDATE derived_state SET version = 999",
    ],
)
async def test_newer_database_is_refused(change: str, tmp_path: Path):
    layout = LAYOUTS["shipping"]
    file = unpack(layout.service, tmp_path)
    await upgrade(file, layout)
    execute(file, change)
    before = contents(file)
    with pytest.raises(FatalError, match="was made by a newer release"):
        await upgrade(file, layout)
    assert contents(file) == before


async def test_database_before_first_format_is_refused(tmp_path: Path):
    layout = LAYOUTS["order"]
    file = unpack(layout.service, tmp_path)
    execute(file, "UPDATE database_identity SET format = 0")
    with pytest.raises(FatalError, match="was made by an older release"):
        await upgrade(file, layout)


async def test_rebuild_tries_parked_events_again(tmp_path: Path):
    layout = LAYOUTS["read"]
    file = unpack("read", tmp_path)
    await upgrade(file, layout)
    before = contents(file)
    order_id = dict(next(iter(before["orders"])))["order_id"]
    execute(
        file,
        "PRAGMA foreign_keys=OFF",
        f"""INSERT INTO dead_letter (event_id, event_type, entity_id, source, position, status, subject, body, error,
              dead_lettered_at)
            SELECT event_id, event_type, entity_id, source, position, 'PARKED', 'shop.order.' || entity_id || '.order_created', x'7b7d', 'x', '-'
            FROM events WHERE entity_id = '{order_id}' AND event_type = 'OrderCreated'""",
        f"DELETE FROM order_items WHERE order_id = '{order_id}'",
        f"DELETE FROM orders WHERE order_id = '{order_id}'",
    )
    derived = layout.derived._replace(version=layout.derived.version + 1)
    await upgrade(file, layout._replace(derived=derived))
    assert contents(file) == before


def test_check_names_databases_to_migrate(tmp_path: Path):
    unpack_all(tmp_path)
    faults = [violation.actual for violation in audit(tmp_path).violations]
    assert len(faults) == len(SERVICES)
    assert all("service once, which migrates it" in fault for fault in faults)


async def test_check_names_unfinished_rebuild(tmp_path: Path):
    unpack_all(tmp_path)
    for layout in LAYOUTS.values():
        await upgrade(tmp_path / f"{layout.service}.db", layout)
    execute(tmp_path / "shipping.db", "UPDATE derived_state SET is_complete = 0")
    (violation,) = audit(tmp_path).violations
    assert "shipping.db is being rebuilt" in violation.actual


def test_format_is_number_of_last_chassis_migration():
    scripts = ScriptDirectory(CHASSIS_VERSIONS, version_locations=[CHASSIS_VERSIONS])
    assert scripts.get_current_head() == str(FORMAT)


def test_kept_tables_refer_to_no_derived_table(layout: Layout):
    tables = {*CHASSIS_METADATA.sorted_tables, *layout.tables.sorted_tables}
    lasting = tables - set(layout.derived.tables)
    references = {key.column.table for table in lasting for key in table.foreign_keys}
    assert references.isdisjoint(layout.derived.tables)
