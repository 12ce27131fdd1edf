"""The projections as a fold of the event archive: how they are rebuilt without the stream."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table

from read_api import event_archive
from read_api.store import CHECKPOINTS, PROJECTIONS
from read_api.tables import EVENTS
from shared.chassis.engine.projector import Projections
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.storage.dead_letters import DEAD_LETTER, PARKING, Status
from shared.chassis.storage.rebuild_file import BUILT, IN_USE
from shared.contracts import CATALOG

VERSIONS = Path(__file__).with_name("versions")
PROJECTIONS_VERSION = 2
"""Raised when the projections make other rows of the same events."""
TABLES: Sequence[Table] = [
    table for projection in PROJECTIONS for table in projection.store.derived_tables
]


def derived_tables() -> DerivedTables:
    """The tables of the projections, and the letters of entities that these park."""
    return DerivedTables(
        tables=TABLES,
        version=PROJECTIONS_VERSION,
        ends=CHECKPOINTS.load,
        events_after=partial(event_archive.recorded_after, catalog=CATALOG),
        apply=Projections(PROJECTIONS).replay,
        also_written=[DEAD_LETTER],
        before_batch=_copy_blocking_letters,
        take_over=_take_letters_over,
    )


# Projections that were corrected may accept the events of parked entities: all in the archive are tried again. The
# archive has none of those that only a later release can read: these still park their entities from their positions on.

_PARKED = ", ".join(f"'{status}'" for status in (*PARKING, Status.WAITING))
_VALUES = [str(c.name) for c in DEAD_LETTER.columns if c.name not in {"dead_letter_id", "status"}]
_COLUMNS = ", ".join((*_VALUES, "status"))
_IS_ARCHIVED = f"""
    EXISTS (SELECT 1 FROM {EVENTS.name} AS event
            WHERE event.source = letter.source AND event.position = letter.position)
"""  # noqa: S608 - names of tables and constants, here and below


def _copy_blocking_letters(connection: Connection) -> None:
    """The letters of events that are not tried again, where the tables are built."""
    connection.exec_driver_sql(
        f"""
        INSERT OR IGNORE INTO main.{DEAD_LETTER.name} ({_COLUMNS})
        SELECT {", ".join(_VALUES)},
          iif(status = '{Status.DISCARDED}', status, '{Status.AWAITING_UPGRADE}')
        FROM {IN_USE}.{DEAD_LETTER.name} AS letter
        WHERE status = '{Status.DISCARDED}' OR (status IN ({_PARKED}) AND NOT {_IS_ARCHIVED})
        """  # noqa: S608
    )


def _take_letters_over(connection: Connection) -> None:
    """Those of parked entities become what the rebuild made of them, in the order of their events."""
    is_built = f"event_id IN (SELECT event_id FROM {BUILT}.{DEAD_LETTER.name})"  # noqa: S608
    connection.exec_driver_sql(
        f"""
        DELETE FROM main.{DEAD_LETTER.name} AS letter
        WHERE status IN ({_PARKED}) AND ({is_built} OR {_IS_ARCHIVED})
        """  # noqa: S608
    )
    connection.exec_driver_sql(
        f"""
        INSERT OR IGNORE INTO main.{DEAD_LETTER.name} ({_COLUMNS})
        SELECT {_COLUMNS} FROM {BUILT}.{DEAD_LETTER.name}
        WHERE status != '{Status.DISCARDED}' ORDER BY source, position
        """  # noqa: S608
    )
    connection.exec_driver_sql(  # what came meanwhile, behind the others
        f"""
        UPDATE main.{DEAD_LETTER.name} SET status = '{Status.AWAITING_UPGRADE}',
          dead_letter_id = dead_letter_id + (SELECT max(dead_letter_id) FROM main.{DEAD_LETTER.name})
        WHERE status IN ({_PARKED}) AND NOT {is_built}
        """  # noqa: S608
    )
