"""What the handlers of the read API use."""

from typing import NamedTuple

from read_api.consistency import Consistency
from read_api.event_stream import Streams
from read_api.queries.sagas import Board
from shared.chassis.engine.projector import Projector
from shared.chassis.http.links import LinkKeys
from shared.chassis.http.rate_limits import Limiter
from shared.chassis.storage.reader import Reader
from shared.settings import ShopSettings


class ReadApi(NamedTuple):
    """The parts of the service, injected as one: Litestar starts a task for each dependency of a request."""

    settings: ShopSettings
    reader: Reader
    streams: Streams
    projector: Projector
    consistency: Consistency
    limits: Limiter
    links: LinkKeys
    board: Board
