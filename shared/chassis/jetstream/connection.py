"""The connection to NATS JetStream: the stream, this service's durable consumer, and publishing in order.

The broker is a transport. Whatever it loses is still in the services' logs, and nothing here is trusted to last.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from shared.chassis.jetstream import errors, stream
from shared.chassis.jetstream.errors import (
    BROKER_ERRORS,
    ConnectionLostError,
    ConsumerInUse,
    NotPermitted,
    NotProvisioned,
)
from shared.chassis.jetstream.pull_consumer import PullConsumer
from shared.chassis.messages import clock
from shared.chassis.messages.recorded_event import CONTENT_TYPE, DecodeError, decode
from shared.chassis.messages.subjects import STREAM, everything_of
from shared.chassis.storage.event_log import Outgoing, Sent
from shared.settings import Settings

T = TypeVar("T")

OLDEST_WITH_RESET = (2, 14)
"""nats-server can reset a consumer from this version on."""
ACK_WAIT_SECONDS = 30
MAX_ACK_PENDING = 20_000
PUBLISH_TIMEOUT_SECONDS = 5
API_TIMEOUT_SECONDS = 5
IN_USE_SECONDS = 3
"""A consumer to which something was delivered so recently belongs to a process that still runs."""

HEADER_FRAME_BYTES = len("NATS/1.0\r\n\r\n")
HEADER_LINE_BYTES = len(": \r\n")
REFUSED_FOR_GOOD = (
    nats.errors.MaxPayloadError,
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
)
TOO_LARGE = frozenset({10054, 10097})
"""JetStream's codes for a message, and for headers, over the stream's limit: no retry helps."""

log = structlog.get_logger()


class PubAck(msgspec.Struct):
    """JetStream's answer to a publish: stored at `seq`, or why not."""

    seq: int = 0
    error: dict[str, object] | None = None


class JetStreamConnection:
    """One connection for one process."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._client = _Client()
        self._inbox = ""
        self._batches = 0
        self._batch: _Batch | None = None
        self._pull: PullConsumer | None = None
        self._is_closing = False
        self._was_closed = False
        self._may_provision = True
        """Until the broker says that this user may not create or change the stream."""
        self._calls: dict[str, asyncio.Future[None]] = {}
        """By the subject that the broker may refuse, in lower case: the calls that wait for an answer."""
        self._repeated = errors.Repeated()
        self._trouble = "the broker"
        self.refusal: str | None = None
        """What the broker did not permit last on this connection, for people."""
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
            tls=_tls(self._settings),
            inbox_prefix=inbox_prefix(self._name),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a fraction works
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=0,  # a publish while disconnected fails at once instead of waiting unseen
            error_cb=self._note_error,
            reconnected_cb=self._note_reconnect,
            closed_cb=self._note_end,
        )
        self._note_version()
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*.*", cb=self._take_ack)

    async def close(self) -> None:
        """Close the connection. Unacknowledged events stay in the log."""
        self._is_closing = True
        with contextlib.suppress(*BROKER_ERRORS):
            await self._client.close()

    def raise_if_lost(self) -> None:
        """Raises ConnectionLostError when nats-py has closed the connection for good, not asked to by us."""
        if (self._was_closed or self._client.is_closed) and not self._is_closing:
            error = self._client.last_error
            reason = errors.text_of(error) if error else "no reason given"
            raise ConnectionLostError(f"the broker closed the connection for good: {reason}")

    def explain(self, error: Exception | None = None) -> str:
        """What is wrong, in one sentence for people: with the connection, or else what this error says."""
        if not self.is_connected:
            return self._trouble
        if isinstance(error, (NotPermitted, NotProvisioned, ConsumerInUse)):
            return str(error)
        if isinstance(error, TimeoutError) and self.refusal:
            return self.refusal
        if error is None or isinstance(error, TimeoutError):
            return f"the broker at {errors.address_of(self._settings.nats_url)} does not answer"
        return f"the broker: {errors.text_of(error)}"

    async def ensure_stream(
        self, *, provisions: bool = False, with_limits: bool = True
    ) -> list[str]:
        """Create the stream if it is missing, correct it if this user may; returns what still differs.

        The limits of a stream that has a provisioner are the provisioner's alone. Raises NotProvisioned.
        """
        target = stream.wanted(self._settings, provisions=provisions)
        present = await self._stream()
        if present is None:
            await self._create(target)
            return []
        is_provisioned = stream.is_provisioned(present)
        is_ours = provisions or not is_provisioned
        fields = stream.differing(present, target, with_limits=with_limits and is_ours)
        changeable = stream.changeable(fields)
        if is_ours and self._may_provision and (changeable or provisions > is_provisioned):
            fields = await self._correct(present, target, fields)
        return stream.described(present, target, fields)

    async def _stream(self) -> api.StreamConfig | None:
        call = self._jetstream().stream_info(STREAM)
        try:
            return (await self._permitted(f"STREAM.INFO.{STREAM}", call)).config
        except nats.js.errors.NotFoundError:
            return None

    async def _create(self, target: api.StreamConfig) -> None:
        if self._may_provision:
            try:
                call = self._jetstream().add_stream(target)
                await self._permitted(f"STREAM.CREATE.{STREAM}", call)
            except NotPermitted:
                self._may_provision = False
            else:
                log.info("stream.created", stream=STREAM)
                return
        raise NotProvisioned(f"the stream {STREAM} is not provisioned")

    async def _correct(
        self, present: api.StreamConfig, target: api.StreamConfig, fields: list[str]
    ) -> list[str]:
        """Change what can be changed; returns the fields that still differ."""
        changeable = stream.changeable(fields)
        call = self._jetstream().update_stream(stream.corrected(present, target, changeable))
        try:
            await self._permitted(f"STREAM.UPDATE.{STREAM}", call)
        except NotPermitted:
            self._may_provision = False
            return fields
        except nats.js.errors.APIError as error:
            log.warning("stream.not_corrected", reason=self.explain(error))
            return fields
        log.warning("stream.corrected", changes=stream.described(present, target, changeable))
        return [name for name in fields if name not in changeable]

    async def problems(self, durable: str) -> list[str]:
        """What keeps this durable from its events although the broker answers, for people."""
        differences = await self.ensure_stream(with_limits=False)
        call = self._jetstream().consumer_info(STREAM, durable)
        present = await self._permitted(f"CONSUMER.INFO.{STREAM}.{durable}", call)
        if present.paused:
            differences.append(f"its consumer is paused for another {present.pause_remaining}")
        return differences

    async def progress(self, durable: str) -> tuple[int, int]:
        """How many events the durable has still to acknowledge, and the sequence up to which it has."""
        call = self._jetstream().consumer_info(STREAM, durable)
        present = await self._permitted(f"CONSUMER.INFO.{STREAM}.{durable}", call)
        acknowledged = present.ack_floor.stream_seq if present.ack_floor else 0
        return (present.num_pending or 0) + (present.num_ack_pending or 0), acknowledged

    async def last_sequence(self) -> int:
        """That of the stream's newest event."""
        call = self._jetstream().stream_info(STREAM)
        return (await self._permitted(f"STREAM.INFO.{STREAM}", call)).state.last_seq

    async def last_published(self, source: str) -> tuple[int, str] | None:
        """Position and id of the newest event of `source` in the stream; None where it has none."""
        try:
            # Not directly: an answer goes wherever its request says, and a direct one would be an event anew.
            call = self._jetstream().get_last_msg(STREAM, everything_of(source))
            message = await self._permitted(f"STREAM.MSG.GET.{STREAM}", call)
            recorded = decode(message.subject or "", message.data or b"")
        except (nats.js.errors.NotFoundError, DecodeError):
            return None
        return recorded.position, recorded.event_id

    async def bind(self, durable: str, subjects: Sequence[str], database_id: str) -> PullConsumer:
        """The service's durable consumer, created if missing, from its last acknowledged event on.

        A consumer made for another database (this one was deleted) is made anew, from the beginning, unless a
        process still uses it: raises ConsumerInUse.
        """
        jetstream = self._jetstream()
        config = api.ConsumerConfig(
            name=durable,
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
            metadata={"database": database_id},
        )
        of_ours = f"{STREAM}.{durable}"
        try:
            call = jetstream.consumer_info(STREAM, durable)
            present = await self._permitted(f"CONSUMER.INFO.{of_ours}", call)
        except nats.js.errors.NotFoundError:
            present = None
        if present and (present.config.metadata or {}).get("database") != database_id:
            if _is_in_use(present):
                raise ConsumerInUse(
                    f"another process consumes as {durable}, with a database of its own"
                )
            deletion = jetstream.delete_consumer(STREAM, durable)
            await self._permitted(f"CONSUMER.DELETE.{of_ours}", deletion)
            present = None
        creation = jetstream.add_consumer(STREAM, config)
        await self._permitted(f"CONSUMER.CREATE.{of_ours}", creation)
        if present and present.num_ack_pending and present.ack_floor:
            await self._reset(durable, present.ack_floor.stream_seq + 1)
        pull = self._pull = PullConsumer(self._client, STREAM, durable)
        await pull.open()
        return pull

    async def _reset(self, durable: str, sequence: int) -> None:
        """Have what a dead predecessor was given delivered now, instead of after its acknowledgement time."""
        if self._is_too_old_to_reset():
            return
        try:
            call = self._jetstream().reset_consumer(STREAM, durable, seq=sequence)
            await self._permitted(f"CONSUMER.RESET.{STREAM}.{durable}", call)
        except BROKER_ERRORS as error:  # what is pending comes again later all the same
            log.warning("consumer.not_reset", reason=self.explain(error), seconds=ACK_WAIT_SECONDS)

    def _is_too_old_to_reset(self) -> bool:
        version = self._client.connected_server_version
        try:
            return (version.major, version.minor) < OLDEST_WITH_RESET
        except ValueError:  # no version: a server built by hand
            return False

    async def _permitted(self, api_subject: str, call: Awaitable[T]) -> T:
        """What the call returns. Raises NotPermitted when the broker refuses it: then no answer ever comes."""
        subject = f"$JS.API.{api_subject}".lower()
        refused = self._calls[subject] = asyncio.get_running_loop().create_future()
        calling = asyncio.ensure_future(call)
        try:
            await asyncio.wait({calling, refused}, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                refused.result()
            return await calling
        finally:
            calling.cancel()
            refused.cancel()
            self._calls.pop(subject, None)

    async def publish(self, events: Sequence[Outgoing]) -> Sent:
        """Send the events in order; returns what became of those answered in time.

        What is missing from the answer may be stored or not: send it again, under the same message id.
        """
        if not self.is_connected:
            return Sent({}, {})
        self._batches += 1
        batch = self._batch = _Batch(self._batches, len(events))
        try:
            for number, outgoing in enumerate(events):
                headers = {"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": outgoing.message_id}
                try:
                    self._raise_if_too_large(outgoing.body, headers)
                    await self._client.publish(
                        outgoing.subject,
                        outgoing.body,
                        reply=f"{self._inbox}.{batch.name}.{number}",
                        headers=headers,
                    )
                except REFUSED_FOR_GOOD as error:
                    batch.note(number, str(error))
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                await batch.complete.wait()
        except BROKER_ERRORS as error:
            log.warning("publish.interrupted", reason=self.explain(error))
        finally:
            self._batch = None
        answers = [
            (events[number].position, batch.answers[number]) for number in sorted(batch.answers)
        ]
        return Sent(
            {
                position: answer
                for position, answer in answers
                if isinstance(answer, int) and answer
            },
            {position: answer for position, answer in answers if isinstance(answer, str)},
        )

    def _raise_if_too_large(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises MaxPayloadError. nats-py forgets the headers, and the server would close the connection."""
        size = HEADER_FRAME_BYTES + len(body)
        size += sum(len(name) + len(value) + HEADER_LINE_BYTES for name, value in headers.items())
        if size > self._client.max_payload:
            raise nats.errors.MaxPayloadError

    async def _take_ack(self, message: Msg) -> None:
        batch = self._batch
        name, number = map(int, message.subject.split(".")[-2:])
        if batch is None or batch.name != name:  # too late: that event goes again
            return
        batch.note(number, _answer(message.data))

    def _jetstream(self) -> JetStreamContext:
        return self._client.jetstream(timeout=API_TIMEOUT_SECONDS)

    def _note_version(self) -> None:
        if self._is_too_old_to_reset():
            version = self._client.connected_server_version
            log.warning(
                "broker.too_old",
                version=f"{version.major}.{version.minor}.{version.patch}",
                oldest=".".join(map(str, OLDEST_WITH_RESET)),
                effect=f"after a crash the last events come again only after {ACK_WAIT_SECONDS} s",
            )

    async def _note_error(self, error: Exception) -> None:
        reason = errors.described(error, self._settings.nats_url)
        if subject := errors.refused_subject(error):
            self.refusal = reason
            waiting = self._calls.get(subject)
            if waiting and not waiting.done():
                waiting.set_exception(NotPermitted(reason))
        else:
            self._trouble = reason
        if self._repeated.is_new(reason):
            log.warning("broker.error", reason=reason)

    async def _note_end(self) -> None:
        self._was_closed = True
        self._interrupt()

    async def _note_reconnect(self) -> None:
        log.info("broker.reconnected")
        self._note_version()
        self._may_provision = True
        self.refusal = None
        self.reconnected.set()
        self._interrupt()

    def _interrupt(self) -> None:
        """No answer to what went over the old connection will come."""
        if self._batch:
            self._batch.complete.set()
        if self._pull:
            self._pull.interrupt()


class _Client(Client):
    """nats-py, but it sends no password in the clear to where TLS was asked for."""

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise nats.errors.Error("it offers no TLS")
        return super()._connect_command()


class _Batch:
    """The acknowledgements of one `publish`, as they come in."""

    def __init__(self, name: int, size: int) -> None:
        self.name = name
        self.size = size
        self.answers: dict[int, int | str] = {}
        """Stream sequences, 0 where the broker could not store the event, and refusals for good in words."""
        self.complete = asyncio.Event()

    def note(self, number: int, answer: int | str) -> None:
        """One of them."""
        self.answers[number] = answer
        if len(self.answers) == self.size:
            self.complete.set()


def _is_in_use(consumer: api.ConsumerInfo) -> bool:
    """Whether a process pulls from it: its request waits, or was answered moments ago."""
    if consumer.num_waiting:
        return True
    active = consumer.delivered.last_active if consumer.delivered else None
    return active is not None and (clock.now() - active).total_seconds() < IN_USE_SECONDS


def _answer(body: bytes) -> int | str:
    """The stream sequence of an acknowledgement; 0 for a refusal that may pass, and the reason of one for good."""
    try:
        ack = msgspec.json.decode(body, type=PubAck)
    except msgspec.MsgspecError:  # empty: nobody listens, the stream is missing
        return 0
    if ack.error and ack.error.get("err_code") in TOO_LARGE:
        return f"nats: {ack.error.get('description')}"
    if ack.error:
        log.warning("publish.refused", reason=ack.error)
    return ack.seq


def inbox_prefix(name: str) -> str:
    """Where the broker's answers to this process go: a user may hear its own, and nobody else's."""
    return f"_INBOX_{name}"


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Trust in the broker's certificate; None where the system's certificates will do."""
    return ssl.create_default_context(cafile=settings.nats_ca) if settings.nats_ca else None
