"""JetStreamConnection → the service's database: fetch, read, hand over, and acknowledge only what is durable."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.aio.msg import Msg

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.unit_of_work import Message
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.failpoints import failpoint
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.pull_consumer import PullConsumer
from shared.chassis.messages.recorded_event import DecodeError, decode
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS
from shared.chassis.storage.dead_letters import MalformedMessage

FETCH_SECONDS = 5
CHECK_SECONDS = 5
"""How often it looks whether stream and consumer are as they must be: nobody says when they change."""

log = structlog.get_logger()


class Consumer:
    """Hands every event of the service's durable to `deliver`, in batches, at least once.

    `deliver` returns when the events are durable; whatever of the broker or the database fails, the loop
    waits with growing pauses and nothing is skipped.
    """

    def __init__(
        self,
        broker: JetStreamConnection,
        durable: str,
        subjects: Sequence[str],
        database_id: str,
        deliver: Callable[[Sequence[Message]], Awaitable[None]],
        *,
        before_binding: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._broker = broker
        self._durable = durable
        self._subjects = subjects
        self._database_id = database_id
        self._deliver = deliver
        self._before_binding = before_binding
        self._backoff = Backoff()
        self._trouble: str | None = "its consumer"
        self._problems: list[str] = []
        self._check_at = 0.0
        self._bound_at: float | None = None

    @property
    def waiting_for(self) -> str | None:
        """What keeps it from consuming, for people; None when it consumes."""
        if not self._broker.is_connected:
            return self._broker.explain()
        return self._trouble or "; ".join(self._problems) or None

    @property
    def bound_since(self) -> float | None:
        """Since when, on the loop's clock, this connection serves its durable; None while it does not."""
        is_interrupted = self._broker.reconnected.is_set() or not self._broker.is_connected
        return None if is_interrupted else self._bound_at

    async def run(self) -> None:
        """Consume for ever; connects to the broker first. Raises ConnectionLostError."""
        await self._broker.connect()
        while True:
            self._broker.reconnected.clear()
            self._bound_at = None
            try:
                self._note(await self._broker.ensure_stream())
                if self._before_binding:
                    await self._before_binding()
                pull = await self._broker.bind(self._durable, self._subjects, self._database_id)
                self._trouble = None
                self._bound_at = asyncio.get_running_loop().time()
                await self._consume(pull)
            except BROKER_ERRORS as error:
                self._broker.raise_if_lost()
                self._wait_for(self._broker.explain(error))
                await self._backoff.pause()

    async def _consume(self, pull: PullConsumer) -> None:
        """Fetch and handle until the connection is a new one; raises what the broker raises."""
        try:
            while not self._broker.reconnected.is_set():
                self._broker.raise_if_lost()
                await self._check()
                if messages := await pull.fetch(FETCH_SECONDS):
                    await self._handle(messages)
                    self._backoff.reset()
        finally:
            with contextlib.suppress(*BROKER_ERRORS):
                await pull.close()

    async def _check(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._check_at or not self._broker.is_connected:
            return
        self._check_at = now + CHECK_SECONDS
        self._note(await self._broker.problems(self._durable))

    def _note(self, problems: list[str]) -> None:
        if problems and problems != self._problems:
            log.warning("consumer.misconfigured", problems=problems)
        self._problems = problems

    def _wait_for(self, reason: str, *, detail: str | None = None) -> None:
        """Anyone may read the reason at `/health/ready`; the detail is for the log."""
        if reason != self._trouble:
            log.warning("consumer.paused", reason=detail or reason)
        self._trouble = reason

    async def _handle(self, messages: list[Msg]) -> None:
        read = [_read(message) for message in messages]
        while True:
            try:
                await self._deliver(read)
                break
            except (*TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                self._wait_for("its database to accept events", detail=str(error))
                await self._backoff.pause()
        self._trouble = None
        failpoint("after_handling")
        for message in messages:
            await message.ack()
        failpoint("after_ack")


def _read(message: Msg) -> Message:
    try:
        return decode(message.subject, message.data)
    except DecodeError as error:
        return MalformedMessage(subject=message.subject, body=message.data, error=str(error))
