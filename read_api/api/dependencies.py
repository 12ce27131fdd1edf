"""What the routes are made with."""

from typing import NamedTuple

from read_api.consistency import Consistency
from read_api.event_stream import Streams
from read_api.projector import Projector
from shared.chassis.http.rate_limits import Limiter
from shared.chassis.storage.database import Database
from shared.settings import Settings


class Parts(NamedTuple):
    """Those of the service that answer queries."""

    settings: Settings
    reads: Database
    streams: Streams
    projector: Projector
    freshness: Consistency
    limits: Limiter
