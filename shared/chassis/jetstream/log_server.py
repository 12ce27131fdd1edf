"""Answers the requests of other services for pages of this service's event log."""

import re
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
from nats.aio.msg import Msg
from sqlalchemy import Connection

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.replay_protocol import (
    MAX_PAGE_BYTES,
    PageHeaders,
    PageRequest,
    decode_request,
    encode_batch,
)
from shared.chassis.messages.subjects import replay_events, replay_request
from shared.chassis.storage import event_log
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS, Database
from shared.chassis.storage.event_log import LogPage

log = structlog.get_logger()


class LogServer:
    """Answers one request after the other; keeps nothing between them.

    A request that cannot be answered now is dropped: the requester repeats it.
    """

    def __init__(
        self,
        source: str,
        database: Database,
        broker: JetStreamConnection,
        is_allowed: Callable[[], bool],
    ) -> None:
        """`is_allowed`: whether the log is the one that was published from."""
        self._source = source
        self._database = database
        self._broker = broker
        self._is_allowed = is_allowed
        self._requests = re.compile(re.escape(replay_request(source, "")) + "([a-z_]{1,32})")
        broker.on_connect(self._subscribe)

    async def _subscribe(self) -> None:
        await self._broker.client.subscribe(replay_request(self._source, "*"), cb=self._take)

    async def _take(self, message: Msg) -> None:
        match = self._requests.fullmatch(message.subject)
        if not match or not self._is_allowed():
            return
        try:
            await self._answer(match[1], message.data)
        except (*BROKER_ERRORS, *TRANSIENT_DATABASE_ERRORS, msgspec.MsgspecError) as error:
            log.warning("replay.not_answered", requester=match[1], reason=str(error))

    async def _answer(self, requester: str, body: bytes) -> None:
        request = decode_request(body)
        page = await self._database.run(partial(self._read, request=request))
        await self._broker.client.publish(
            replay_events(requester, self._source),
            encode_batch(page.bodies),
            headers=PageHeaders(request.request_id, page.through, page.end).encode(),
        )

    def _read(self, connection: Connection, request: PageRequest) -> LogPage:
        since = request.since
        return event_log.page_after(
            connection,
            self._source,
            event_log.last_before(connection, since) if since else request.after,
            types=request.types,
            most=request.most,
            most_bytes=MAX_PAGE_BYTES,
        )
