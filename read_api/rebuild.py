"""The projections as a fold of the event archive: how they are rebuilt without the stream."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table, delete, exists, update

from read_api import event_archive
from read_api.store import PROJECTIONS
from read_api.tables import EVENTS
from shared.chassis.engine.projector import Projector
from shared.chassis.engine.rebuild import DerivedTables
from shared.chassis.storage.dead_letters import DEAD_LETTER, PARKING, Status
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
    """Projections that were corrected may accept the events of parked entities: all in the archive are tried again.

    The archive has none of those that only a later release can read. They still park their entities from their
    positions on.
    """
    is_archived = exists().where(
        EVENTS.c.source == DEAD_LETTER.c.source, EVENTS.c.position == DEAD_LETTER.c.position
    )
    is_parked = DEAD_LETTER.c.status.in_((*PARKING, Status.WAITING))
    connection.execute(delete(DEAD_LETTER).where(is_parked, is_archived))
    connection.execute(update(DEAD_LETTER).where(is_parked).values(status=Status.AWAITING_UPGRADE))
