"""The projections as a fold of the event archive: how they are rebuilt without the stream."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table, delete

from read_api import event_archive
from read_api.store import PROJECTIONS
from shared.chassis.engine.projector import Projector
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.storage.dead_letters import DEAD_LETTER, Status
from shared.contracts import CATALOG

VERSIONS = Path(__file__).with_name("versions")
PROJECTIONS_VERSION = 1
"""Raised when the projections make other rows of the same events."""
TABLES: Sequence[Table] = [
    table for projection in PROJECTIONS for table in projection.store.derived_tables
]


def derived_tables(projector: Projector) -> DerivedTables:
    """The tables of the projections, which this projector fills."""
    return DerivedTables(
        tables=TABLES,
        version=PROJECTIONS_VERSION,
        events_after=partial(event_archive.recorded_after, catalog=CATALOG),
        apply=projector.replay,
        reset=_forget_parked,
    )


def _forget_parked(connection: Connection) -> None:
    """Projections that were corrected may accept the events of parked entities: all of them are tried again."""
    parked = DEAD_LETTER.c.status.in_([Status.PARKED, Status.WAITING])
    connection.execute(delete(DEAD_LETTER).where(parked))
