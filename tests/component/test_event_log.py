"""The event log at the size of a busy customer's history."""

from pathlib import Path

from sqlalchemy import Connection

from shared.chassis.messages.cloudevents import stored
from shared.chassis.storage import event_log
from shared.chassis.storage.event_log import EVENT_LOG
from shared.contracts import CartCleared
from tests.support.chassis import ORDER, writing
from tests.support.history import recorded

VERSIONS = 5000


def append_steps(connection: Connection, position: int, entity_id: str) -> int:
    """The number of virtual machine steps that SQLite takes to append one event of the entity."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    driver = connection.connection.driver_connection
    assert driver is not None
    event = recorded(CartCleared(user_id=entity_id), position=position)
    driver.set_progress_handler(count, 1)
    event_log.append(connection, [stored(event)])
    driver.set_progress_handler(None, 0)
    return steps


async def test_append_cost_is_independent_of_history_length(tmp_path: Path):
    def compare(connection: Connection) -> tuple[int, int]:
        owners = [*["busy"] * VERSIONS, "new"]
        history = [
            recorded(CartCleared(user_id=owner), position=position)
            for position, owner in enumerate(owners, 1)
        ]
        event_log.append(connection, [stored(event) for event in history])
        return (
            append_steps(connection, VERSIONS + 2, "new"),
            append_steps(connection, VERSIONS + 3, "busy"),
        )

    async with writing(tmp_path / "order.db", ORDER) as chassis:
        short, long = await chassis.writer.run_in_transaction(compare)
        versions = {row["entity_id"]: row["version"] for row in await chassis.rows(EVENT_LOG)}
    assert versions == {"busy": VERSIONS + 1, "new": 2}
    assert long < 2 * short
