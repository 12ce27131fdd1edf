"""Publishes events in order over one connection: many at a time, with their acknowledgements collected by one
subscription. That is about 2.5 times as fast as one nats-py `js.publish` per event.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.messages.cloudevents import CONTENT_TYPE
from shared.chassis.storage.event_log import Outgoing, Sent

PUBLISH_TIMEOUT_SECONDS = 5

HEADER_FRAME_BYTES = len("NATS/1.0\r\n\r\n")
HEADER_LINE_BYTES = len(": \r\n")
PERMANENT_ERRORS = (
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


class Publisher:
    """Sends one batch at a time."""

    def __init__(self, connection: JetStreamConnection) -> None:
        self._connection = connection
        self._inbox: str | None = None
        self._batch_number = 0
        self._batch: _Batch | None = None
        connection.on_interrupt(self._interrupt)

    async def publish(self, events: Sequence[Outgoing]) -> Sent:
        """Send the events in order; returns what became of those answered in time.

        An event that the result does not mention may be stored or not: send it again, under the same message id.
        """
        if not self._connection.is_connected:
            return Sent({}, {})
        self._batch_number += 1
        batch = self._batch = _Batch(self._batch_number, len(events))
        try:
            await self._send(events, batch)
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                await batch.complete.wait()
        except BROKER_ERRORS as error:
            log.warning("publish.interrupted", reason=self._connection.explain(error))
        finally:
            self._batch = None
        return _outcome(events, batch.answers)

    async def _send(self, events: Sequence[Outgoing], batch: "_Batch") -> None:
        client = self._connection.client
        inbox = await self._subscribed_inbox()
        for index, outgoing in enumerate(events):
            headers = {"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": outgoing.message_id}
            reply = f"{inbox}.{batch.number}.{index}"
            try:
                self._raise_if_too_large(outgoing.body, headers)
                await client.publish(outgoing.subject, outgoing.body, reply=reply, headers=headers)
            except PERMANENT_ERRORS as error:
                batch.note(index, str(error))

    async def _subscribed_inbox(self) -> str:
        if self._inbox is None:
            inbox = self._connection.client.new_inbox()
            await self._connection.client.subscribe(f"{inbox}.*.*", cb=self._take_ack)
            self._inbox = inbox
        return self._inbox

    def _raise_if_too_large(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises MaxPayloadError. nats-py does not count headers, and the server would close the connection."""
        size = HEADER_FRAME_BYTES + len(body)
        size += sum(len(name) + len(value) + HEADER_LINE_BYTES for name, value in headers.items())
        if size > self._connection.client.max_payload:
            raise nats.errors.MaxPayloadError

    async def _take_ack(self, message: Msg) -> None:
        batch = self._batch
        number, index = map(int, message.subject.split(".")[-2:])
        if batch is None or batch.number != number:  # too late: that event is sent again
            return
        batch.note(index, _read_ack(message.data))

    def _interrupt(self) -> None:
        if self._batch:
            self._batch.complete.set()


class _Batch:
    """The acknowledgements of one `publish`, as they arrive."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.answers: dict[int, int | str] = {}
        """By index: the stream sequence, 0 if the broker could not store the event, or a permanent refusal's reason."""
        self.complete = asyncio.Event()

    def note(self, index: int, answer: int | str) -> None:
        self.answers[index] = answer
        if len(self.answers) == self.size:
            self.complete.set()


def _outcome(events: Sequence[Outgoing], answers: Mapping[int, int | str]) -> Sent:
    sequences: dict[int, int] = {}
    refusals: dict[int, str] = {}
    for index in sorted(answers):
        position, answer = events[index].position, answers[index]
        if isinstance(answer, str):
            refusals[position] = answer
        elif answer:
            sequences[position] = answer
    return Sent(sequences, refusals)


def _read_ack(body: bytes) -> int | str:
    """The stream sequence of an acknowledgement, 0 for a refusal that may pass, the reason of a permanent one."""
    try:
        ack = msgspec.json.decode(body, type=PubAck)
    except msgspec.MsgspecError:  # an empty body: no stream takes the subject
        return 0
    if ack.error and ack.error.get("err_code") in TOO_LARGE:
        return f"nats: {ack.error.get('description')}"
    if ack.error:
        log.warning("publish.refused", reason=ack.error)
    return ack.seq
