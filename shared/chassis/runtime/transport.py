"""What connects a service that decides with the broker.

Its events go out, the events of other services come in, and what was lost on the way is published or received again.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.engine.writer import Writer
from shared.chassis.jetstream.catch_up import CatchUp
from shared.chassis.jetstream.consumer import Consumer
from shared.chassis.jetstream.durable import Durable
from shared.chassis.jetstream.log_server import LogServer
from shared.chassis.jetstream.older_copy import OlderCopy
from shared.chassis.jetstream.past_events import PastEvents
from shared.chassis.jetstream.relay import Relay
from shared.chassis.jetstream.replay_client import ReplayClient
from shared.chassis.jetstream.resync import Resync
from shared.chassis.messages.catalog import Catalog
from shared.chassis.runtime.logic import consumed_subjects
from shared.chassis.runtime.loops import Loop
from shared.chassis.runtime.resources import Resources
from shared.chassis.settings import ChassisSettings

DRAIN_SECONDS = 1.5


class Transport:
    """Relay and consumer, and what compares the log and the database with the stream."""

    def __init__(
        self,
        source: str,
        settings: ChassisSettings,
        logic: ServiceLogic[Any, Any],
        resources: Resources,
        writer: Writer[Any, Any],
        *,
        catalog: Catalog,
    ) -> None:
        reads, broker, streams = resources.reads, resources.broker, resources.streams
        self._source = source
        self._resources = resources
        self._writer = writer
        self._catalog = catalog
        self._subjects = consumed_subjects(logic, catalog)
        self.relay = Relay(source, reads, broker, writer)
        self._resync = Resync(
            reads, broker, streams, self.relay, writer, source=source, catalog=catalog
        )
        self._older_copy = OlderCopy(reads, writer, catalog, settings.inbox_retention_days)
        self._past_events = PastEvents(
            [subscription.event_type for subscription in logic.subscriptions],
            catalog,
            ReplayClient(source, broker, catalog),
            reads,
            writer,
        )
        LogServer(source, reads, broker, lambda: self._resync.is_own_log)
        self._on_own_log: list[Callable[[], Awaitable[None]]] = []
        self._consumer: Consumer | None = None
        self._catch_up: CatchUp | None = None

    def connect(self, database_id: str, *, grace_seconds: float) -> None:
        """Before the loops are started: consume for the database with this id.

        `grace_seconds` is how long the others may need to catch up after a start or an outage.
        """
        resources = self._resources
        broker, streams = resources.broker, resources.streams
        durable = Durable(broker, self._source, self._subjects, database_id)

        async def before_binding() -> None:
            await self._resync.allow_relay()
            while self._on_own_log:
                await self._on_own_log[0]()
                del self._on_own_log[0]
            await self._older_copy.before_binding(durable, streams)
            await self._past_events.before_binding(durable, streams)

        self._consumer = Consumer(
            broker,
            streams,
            durable,
            self._writer.handle,
            catalog=self._catalog,
            before_binding=before_binding,
            on_bound=self._past_events.note_bound,
        )
        self._catch_up = CatchUp(
            broker, streams, durable, self.relay, self._consumer, grace_seconds=grace_seconds
        )

    async def when_own_log(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do it once it is certain that this log is the one that was published from, and not a new or older one."""
        if self._resync.is_own_log:
            await action()
        else:
            self._on_own_log.append(action)

    def publishing_loop(self) -> Loop:
        return Loop("relay", self.relay.run, request_stop=partial(self.relay.drain, DRAIN_SECONDS))

    def consuming_loops(self) -> Sequence[Loop]:
        if self._consumer is None:
            raise RuntimeError("not connected")
        return (
            Loop("resync", self._resync.run),
            Loop("past events", self._past_events.run),
            Loop("consumer", self._consumer.run),
        )

    async def publish_again(self, positions: range) -> None:
        """Consumers that have handled these events ignore them."""
        await self._resync.publish_again(positions)

    async def handled_until(self) -> datetime | None:
        """Every event that the others published before this moment is handled; None while that is unknown."""
        return await self._catch_up.handled_until() if self._catch_up else None

    @property
    def handling_reason(self) -> str:
        """What `handled_until` waits for, as a phrase."""
        return self._catch_up.waiting_for if self._catch_up else ""

    @property
    def lag(self) -> int | None:
        return self._consumer.lag if self._consumer else None

    def waiting_for(self) -> list[str]:
        """What keeps events from being published and consumed, as phrases."""
        reasons = []
        if self._consumer and self._consumer.waiting_for:
            reasons.append(self._consumer.waiting_for)
        if self.relay.backlog:
            refusal = self._resources.broker.refusal
            detail = f" ({refusal})" if refusal else ""
            reasons.append(f"the broker to take its events{detail}")
        if lost := self.relay.lost:
            reasons.append(f"the stream to get {lost} events again that the broker has lost")
        return reasons

    def warnings(self) -> list[str]:
        """What an operator should look at although events are published and consumed."""
        warnings = []
        if self.relay.refused:
            problem = f"the broker refuses {self.relay.refused} of its events permanently"
            warnings.append(
                f"{problem}: quadrille check names them, quadrille resend sends them again"
            )
        if self._resync.problem:
            warnings.append(f"its events in the stream cannot be checked: {self._resync.problem}")
        if missing := self._past_events.missing:
            warnings.append(f"past events are not handled yet: {', '.join(missing)}")
        return warnings
