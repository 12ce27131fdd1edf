"""The connection to NATS JetStream: the stream, this service's durable consumer, and publishing in order.

The broker is a transport. Whatever it loses is still in the services' logs, and nothing here is trusted to last.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
import nats
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from shared import clock
from shared.config import Settings
from shared.contracts.recorded import CONTENT_TYPE, Recorded, Undecodable, decode, encode
from shared.contracts.subjects import EVERYTHING, STREAM, everything_of
from shared.pull import Pull

DUPLICATE_WINDOW_SECONDS = 120
ACK_WAIT_SECONDS = 30
MAX_ACK_PENDING = 20_000
PUBLISH_TIMEOUT_SECONDS = 5
API_TIMEOUT_SECONDS = 5
IN_USE_SECONDS = 3
"""A consumer to which something was delivered so recently belongs to a process that still runs."""

log = structlog.get_logger()

TROUBLE = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""What the broker's absence, slowness or refusal looks like. Wait, and try again."""


class ConsumerInUse(nats.errors.Error):
    """Two processes with different databases consume as one service; the second one waits."""


class PubAck(msgspec.Struct):
    """JetStream's answer to a publish: stored at `seq`, or why not."""

    seq: int = 0
    error: dict[str, object] | None = None


class Broker:
    """One connection for one process."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._client = Client()
        self._inbox = ""
        self._batches = 0
        self._batch: _Batch | None = None
        self._pull: Pull | None = None
        self.reconnected = asyncio.Event()
        """Set at every new connection: what was being delivered may be lost on the way."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker answers at present."""
        return self._client.is_connected

    async def connect(self) -> None:
        """Wait for the broker as long as it takes; afterwards reconnect for ever."""
        await self._client.connect(
            servers=[self._settings.nats_url],
            name=self._name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a fraction works
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=0,  # a publish while disconnected fails at once instead of waiting unseen
            error_cb=self._note_error,
            reconnected_cb=self._note_reconnect,
        )
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*.*", cb=self._take_ack)

    async def close(self) -> None:
        """Hang up. What is not acknowledged stays in the log."""
        with contextlib.suppress(*TROUBLE):
            await self._client.close()

    async def ensure_stream(self) -> None:
        """Create the stream if it is missing, or set its limits to the settings'."""
        stream = self._jetstream()
        config = api.StreamConfig(
            name=STREAM,
            subjects=[EVERYTHING],
            storage=api.StorageType.FILE,
            retention=api.RetentionPolicy.LIMITS,
            discard=api.DiscardPolicy.NEW,
            max_age=self._settings.stream_max_age_seconds,
            max_bytes=self._settings.stream_max_bytes,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
            allow_direct=True,
            deny_delete=True,
        )
        try:
            present = (await stream.stream_info(STREAM)).config
        except nats.js.errors.NotFoundError:
            await stream.add_stream(config)
            return
        if (present.max_age, present.max_bytes) != (config.max_age, config.max_bytes):
            await stream.update_stream(
                present.evolve(max_age=config.max_age, max_bytes=config.max_bytes)
            )

    async def last_published(self, source: str) -> tuple[int, str] | None:
        """Position and id of the newest event of `source` in the stream; None where it has none."""
        try:
            message = await self._jetstream().get_last_msg(
                STREAM, everything_of(source), direct=True
            )
            recorded = decode(message.subject or "", message.data or b"")
        except (nats.js.errors.NotFoundError, Undecodable):
            return None
        return recorded.position, recorded.event_id

    async def bind(self, durable: str, subjects: Sequence[str], database_id: str) -> Pull:
        """The service's durable consumer, created if missing, from its last acknowledged event on.

        A consumer made for another database (this one was deleted) is made anew, from the beginning, unless a
        process still uses it: raises ConsumerInUse.
        """
        stream = self._jetstream()
        config = api.ConsumerConfig(
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
            metadata={"database": database_id},
        )
        try:
            present = await stream.consumer_info(STREAM, durable)
        except nats.js.errors.NotFoundError:
            present = None
        if present and (present.config.metadata or {}).get("database") != database_id:
            if _is_in_use(present):
                raise ConsumerInUse(
                    f"another process consumes as {durable}, with a database of its own"
                )
            await stream.delete_consumer(STREAM, durable)
            present = None
        await stream.add_consumer(STREAM, config)
        if present and present.num_ack_pending and present.ack_floor:
            # Do not wait for the acknowledgement time of what a dead predecessor was given.
            await stream.reset_consumer(STREAM, durable, seq=present.ack_floor.stream_seq + 1)
        pull = self._pull = Pull(self._client, STREAM, durable)
        await pull.open()
        return pull

    async def publish(self, events: Sequence[Recorded]) -> dict[int, int]:
        """Send the events in order; returns position → stream sequence of those acknowledged in time.

        What is missing from the answer may be stored or not: send it again, under the same id.
        """
        self._batches += 1
        batch = self._batch = _Batch(self._batches, len(events))
        try:
            for number, recorded in enumerate(events):
                await self._client.publish(
                    recorded.subject,
                    encode(recorded),
                    reply=f"{self._inbox}.{batch.name}.{number}",
                    headers={"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": recorded.event_id},
                )
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                await batch.complete.wait()
        except TROUBLE as error:
            log.warning("publish.interrupted", reason=str(error) or type(error).__name__)
        finally:
            self._batch = None
        return {
            events[number].position: sequence
            for number, sequence in sorted(batch.sequences.items())
            if sequence
        }

    async def _take_ack(self, message: Msg) -> None:
        batch = self._batch
        name, number = map(int, message.subject.split(".")[-2:])
        if batch is None or batch.name != name:  # too late: that event goes again
            return
        batch.sequences[number] = _sequence(message.data)
        if len(batch.sequences) == batch.size:
            batch.complete.set()

    def _jetstream(self) -> JetStreamContext:
        return self._client.jetstream(timeout=API_TIMEOUT_SECONDS)

    async def _note_error(self, error: Exception) -> None:
        log.debug("broker.error", reason=str(error) or type(error).__name__)

    async def _note_reconnect(self) -> None:
        log.info("broker.reconnected")
        self.reconnected.set()
        if self._batch:
            self._batch.complete.set()  # no answer to what went over the old connection will come
        if self._pull:
            self._pull.interrupt()


class _Batch:
    """The acknowledgements of one `publish`, as they come in."""

    def __init__(self, name: int, size: int) -> None:
        self.name = name
        self.size = size
        self.sequences: dict[int, int] = {}
        self.complete = asyncio.Event()


def _is_in_use(consumer: api.ConsumerInfo) -> bool:
    """Whether a process pulls from it: its request waits, or was answered moments ago."""
    if consumer.num_waiting:
        return True
    active = consumer.delivered.last_active if consumer.delivered else None
    return active is not None and (clock.now() - active).total_seconds() < IN_USE_SECONDS


def _sequence(body: bytes) -> int:
    """The stream sequence of an acknowledgement; 0 when it is a refusal."""
    try:
        ack = msgspec.json.decode(body, type=PubAck)
    except msgspec.MsgspecError:  # empty: nobody listens, the stream is missing
        return 0
    if ack.error:
        log.warning("publish.refused", reason=ack.error)
    return ack.seq
