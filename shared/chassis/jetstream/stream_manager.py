"""Creates the stream SHOP, keeps its configuration as the settings require, and reads its state and newest events."""

from typing import NamedTuple

import nats.js.errors
import structlog
from nats.js import api

from shared.chassis.jetstream import stream_config
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import NotPermitted, NotProvisioned
from shared.chassis.messages.catalog import Catalog, DecodeError
from shared.chassis.messages.cloudevents import decode, decode_stored
from shared.chassis.messages.recorded_event import StoredEvent
from shared.chassis.messages.subjects import STREAM, everything_of
from shared.chassis.settings import ChassisSettings

NAME_IN_USE = 10058
"""JetStream's code for a stream that exists with another configuration."""

log = structlog.get_logger()


class StreamState(NamedTuple):
    """The stream as the broker reports it."""

    epoch: str
    """Differs from that of every other stream: one that was deleted and created again has lost its events."""
    holes: int
    """How many messages between the first and the last are missing."""
    max_age_seconds: float
    """How long it keeps events; 0 is without limit."""


class Published(NamedTuple):
    """An event in the stream."""

    position: int
    event_id: str
    sequence: int
    """Where in the stream it is."""


class StreamManager:
    """The stream as one connection sees it and, where its user may, changes it."""

    def __init__(self, connection: JetStreamConnection, settings: ChassisSettings) -> None:
        self._connection = connection
        self._settings = settings

    async def ensure(self, *, provisions: bool = False, with_limits: bool = True) -> list[str]:
        """Create the stream if it is missing, correct it if this user may; returns the remaining differences.

        Only its provisioner changes the limits of a stream that has one. Raises NotProvisioned.
        """
        target = stream_config.target(self._settings, provisions=provisions)
        current = await self._find()
        if current is None:
            await self._create(target)
            return []
        is_provisioned = stream_config.is_provisioned(current)
        is_ours = provisions or not is_provisioned
        fields = stream_config.differing(current, target, with_limits=with_limits and is_ours)
        changeable = stream_config.changeable(fields)
        may_provision = is_ours and self._connection.may_provision
        if may_provision and (changeable or provisions > is_provisioned):
            fields = await self._correct(current, target, fields)
        return stream_config.describe(current, target, fields)

    async def first_sequence(self) -> int:
        """The stream sequence of the oldest event: more than 1 if older ones have expired."""
        return (await self._info()).state.first_seq

    async def last_sequence(self) -> int:
        """The stream sequence of the newest event."""
        return (await self._info()).state.last_seq

    async def state(self) -> StreamState:
        """The stream's state now. Raises NotFoundError without a stream."""
        info = await self._info()
        return StreamState(
            stream_config.epoch_of(info), info.state.num_deleted or 0, info.config.max_age or 0
        )

    async def last_published(self, source: str, catalog: Catalog) -> Published | None:
        """The newest event of `source` in the stream; None if it has none."""
        try:
            # No direct get: its answer is published wherever the request asks, which could be an event subject.
            call = self._connection.jetstream().get_last_msg(STREAM, everything_of(source))
            message = await self._connection.call(f"STREAM.MSG.GET.{STREAM}", call)
            recorded = decode(message.subject or "", message.data or b"", catalog)
        except (nats.js.errors.NotFoundError, DecodeError):
            return None
        return Published(recorded.position, recorded.event_id, message.seq or 0)

    async def event_at(self, sequence: int, catalog: Catalog) -> StoredEvent | None:
        """The event at this stream sequence; None if it has expired or is no event."""
        try:
            call = self._connection.jetstream().get_msg(STREAM, sequence)
            message = await self._connection.call(f"STREAM.MSG.GET.{STREAM}", call)
            return decode_stored(message.subject or "", message.data or b"", catalog)
        except (nats.js.errors.NotFoundError, DecodeError):
            return None

    async def _find(self) -> api.StreamConfig | None:
        try:
            return (await self._info()).config
        except nats.js.errors.NotFoundError:
            return None

    async def _info(self) -> api.StreamInfo:
        call = self._connection.jetstream().stream_info(STREAM)
        return await self._connection.call(f"STREAM.INFO.{STREAM}", call)

    async def _create(self, target: api.StreamConfig) -> None:
        if self._connection.may_provision:
            try:
                call = self._connection.jetstream().add_stream(stream_config.with_epoch(target))
                await self._connection.call(f"STREAM.CREATE.{STREAM}", call)
            except NotPermitted:
                self._connection.may_provision = False
            except nats.js.errors.APIError as error:
                if error.err_code != NAME_IN_USE:  # another service was first
                    raise
                return
            else:
                log.info("stream.created", stream=STREAM)
                return
        raise NotProvisioned(f"the stream {STREAM} is not provisioned")

    async def _correct(
        self, current: api.StreamConfig, target: api.StreamConfig, fields: list[str]
    ) -> list[str]:
        """Change what can be changed; returns the fields that still differ."""
        changeable = stream_config.changeable(fields)
        corrected = stream_config.corrected(current, target, changeable)
        call = self._connection.jetstream().update_stream(corrected)
        try:
            await self._connection.call(f"STREAM.UPDATE.{STREAM}", call)
        except NotPermitted:
            self._connection.may_provision = False
            return fields
        except nats.js.errors.APIError as error:
            log.warning("stream.not_corrected", reason=self._connection.explain(error))
            return fields
        changes = stream_config.describe(current, target, changeable)
        log.warning("stream.corrected", changes=changes)
        return [name for name in fields if name not in changeable]
