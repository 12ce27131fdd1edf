"""Broker → the service's database: fetch, decode, deliver; acknowledge only what is durable."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.aio.msg import Msg

from shared.chassis.engine.backoff import Backoff
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.failpoints import failpoint
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.pull_consumer import PullConsumer
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.received import Message, receive
from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS

FETCH_SECONDS = 5
CHECK_SECONDS = 5
"""How often the configuration of stream and consumer is checked: the broker does not report changes."""

log = structlog.get_logger()


class Consumer:
    """Hands every event of the service's durable to `deliver`, in batches, at least once.

    `deliver` returns when the events are durable. Whatever fails in the broker or the database, the loop tries
    again with growing pauses and skips nothing.
    """

    def __init__(
        self,
        broker: JetStreamConnection,
        streams: StreamManager,
        durable: Durable,
        deliver: Callable[[Sequence[Message]], Awaitable[None]],
        *,
        catalog: Catalog,
        before_binding: Callable[[], Awaitable[None]] | None = None,
        on_bound: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._streams = streams
        self._durable = durable
        self._deliver = deliver
        self._catalog = catalog
        self._before_binding = before_binding
        self._on_bound = on_bound
        self._backoff = Backoff()
        self._pause_reason: str | None = "its consumer"
        self._problems: list[str] = []
        self._check_at = 0.0
        self._bound_at: float | None = None
        self._unhandled_at_binding = 0
        self._last_message: Msg | None = None
        self._in_progress = 0

    @property
    def waiting_for(self) -> str | None:
        """What keeps it from consuming, as a sentence; None when it consumes."""
        if not self._broker.is_connected:
            return self._broker.explain()
        return self._pause_reason or "; ".join(self._problems) or None

    @property
    def bound_since(self) -> float | None:
        """Since when, on the loop's clock, this connection reads from its durable; None while it does not."""
        is_interrupted = self._broker.reconnected.is_set() or not self._broker.is_connected
        return None if is_interrupted else self._bound_at

    @property
    def lag(self) -> int | None:
        """The number of events that are not handled; None while it does not consume."""
        if self.bound_since is None:
            return None
        last = self._last_message  # read here, so that events cost nothing more
        later = self._unhandled_at_binding if last is None else last.metadata.num_pending
        return later + self._in_progress

    async def run(self) -> None:
        """Connect to the broker, then consume until cancelled. Raises ConnectionLostError."""
        await self._broker.connect()
        while True:
            self._broker.reconnected.clear()
            self._bound_at = None
            try:
                self._note(await self._streams.ensure())
                if self._before_binding:
                    await self._before_binding()
                pull = await self._durable.bind()
                self._unhandled_at_binding, _ = await self._durable.progress()
                self._last_message = None
                self._pause_reason = None
                self._bound_at = asyncio.get_running_loop().time()
                self._on_bound()
                await self._consume(pull)
            except BROKER_ERRORS as error:
                self._broker.raise_if_lost()
                self._note_pause(self._broker.explain(error))
                await self._backoff.pause()
            except (*TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                self._note_pause("its database", detail=str(error))
                await self._backoff.pause()

    async def _consume(self, pull: PullConsumer) -> None:
        """Fetch and handle until the broker is reconnected; raises what the broker raises."""
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
        differences = await self._streams.ensure(with_limits=False)
        self._note([*differences, *await self._durable.problems()])

    def _note(self, problems: list[str]) -> None:
        if problems and problems != self._problems:
            log.warning("consumer.misconfigured", problems=problems)
        self._problems = problems

    def _note_pause(self, reason: str, *, detail: str | None = None) -> None:
        """`/health/ready` shows the reason to anyone; the detail is only logged."""
        if reason != self._pause_reason:
            log.warning("consumer.paused", reason=detail or reason)
        self._pause_reason = reason

    async def _handle(self, messages: list[Msg]) -> None:
        self._last_message, self._in_progress = messages[-1], len(messages)
        received = [receive(message.subject, message.data, self._catalog) for message in messages]
        while True:
            try:
                await self._deliver(received)
                break
            except (*TRANSIENT_DATABASE_ERRORS, StorageUnavailable) as error:
                self._note_pause("its database to accept events", detail=str(error))
                await self._backoff.pause()
        self._pause_reason = None
        self._in_progress = 0
        failpoint("after_handling")
        for message in messages:
            await message.ack()
        failpoint("after_ack")
