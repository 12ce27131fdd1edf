"""A service's durable consumer on the stream: its position survives restarts of the process and of the broker."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import nats.js.errors
import structlog
from nats.js import JetStreamContext, api

from shared.chassis.jetstream.connection import ACK_WAIT_SECONDS, JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS, ConsumerInUse
from shared.chassis.jetstream.pull_consumer import PullConsumer
from shared.chassis.messages import clock
from shared.chassis.messages.subjects import STREAM

T = TypeVar("T")

MAX_ACK_PENDING = 20_000
IN_USE_SECONDS = 3
"""A running process uses a durable that got a delivery this recently."""

log = structlog.get_logger()


class Durable:
    """The durable consumer that reads `subjects` for one database."""

    def __init__(
        self,
        connection: JetStreamConnection,
        name: str,
        subjects: Sequence[str],
        database_id: str,
    ) -> None:
        self._connection = connection
        self._name = name
        self._database_id = database_id
        self._config = api.ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subjects=list(subjects),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
            metadata={"database": database_id},
        )
        self._pull: PullConsumer | None = None
        connection.on_interrupt(self._interrupt)

    async def bind(self) -> PullConsumer:
        """Create the durable if it is missing, and read on after the last acknowledged event.

        A durable that was made for another database (ours replaces a deleted one) is created again and starts from
        the first event, unless another process still uses it: then this raises ConsumerInUse.
        """
        current = await self._find()
        if current and not self._is_ours(current):
            if _is_in_use(current):
                raise ConsumerInUse(
                    f"another process consumes as {self._name}, with a database of its own"
                )
            await self._call("DELETE", self._jetstream.delete_consumer(STREAM, self._name))
            current = None
        await self._call("CREATE", self._jetstream.add_consumer(STREAM, self._config))
        if current and current.num_ack_pending and current.ack_floor:
            await self._reset(current.ack_floor.stream_seq + 1)
        pull = self._pull = PullConsumer(self._connection.client, STREAM, self._name)
        await pull.open()
        return pull

    async def filters(self) -> list[str] | None:
        """The subjects that it brought so far; None if there is no durable for this database."""
        current = await self._find()
        if current is None or not self._is_ours(current):
            return None
        return current.config.filter_subjects or [current.config.filter_subject or ">"]

    async def acknowledged(self) -> int:
        """The stream sequence up to which this database has received everything; 0 without a durable for it."""
        current = await self._find()
        is_ours = current is not None and self._is_ours(current)
        return current.ack_floor.stream_seq if is_ours and current and current.ack_floor else 0

    def brings(self, subject: str) -> bool:
        """Whether it delivers messages with this subject."""
        filters = self._config.filter_subjects or []
        return any(_matches(pattern, subject) for pattern in filters)

    def belong_to(self, database_id: str) -> None:
        """The database has another id: `bind` makes the durable again."""
        self._database_id = database_id
        self._config = self._config.evolve(metadata={"database": database_id})

    async def problems(self) -> list[str]:
        """Why no events arrive although the broker answers, as sentences."""
        current = await self._info()
        if current.paused:
            return [f"its consumer is paused for another {current.pause_remaining}"]
        return []

    async def progress(self) -> tuple[int, int]:
        """The number of events not acknowledged yet, and the stream sequence up to which all are."""
        current = await self._info()
        acknowledged = current.ack_floor.stream_seq if current.ack_floor else 0
        return (current.num_pending or 0) + (current.num_ack_pending or 0), acknowledged

    def _is_ours(self, consumer: api.ConsumerInfo) -> bool:
        return (consumer.config.metadata or {}).get("database") == self._database_id

    async def _find(self) -> api.ConsumerInfo | None:
        try:
            return await self._info()
        except nats.js.errors.NotFoundError:
            return None

    async def _info(self) -> api.ConsumerInfo:
        return await self._call("INFO", self._jetstream.consumer_info(STREAM, self._name))

    async def _reset(self, sequence: int) -> None:
        """Have events that a crashed process did not acknowledge redelivered now, not after their ack wait."""
        if not self._connection.can_reset_consumers():
            return
        try:
            await self._call(
                "RESET", self._jetstream.reset_consumer(STREAM, self._name, seq=sequence)
            )
        except BROKER_ERRORS as error:  # pending events are redelivered later anyway
            reason = self._connection.explain(error)
            log.warning("consumer.not_reset", reason=reason, seconds=ACK_WAIT_SECONDS)

    @property
    def _jetstream(self) -> JetStreamContext:
        return self._connection.jetstream()

    async def _call(self, verb: str, call: Awaitable[T]) -> T:
        return await self._connection.call(f"CONSUMER.{verb}.{STREAM}.{self._name}", call)

    def _interrupt(self) -> None:
        if self._pull:
            self._pull.interrupt()


def _matches(pattern: str, subject: str) -> bool:
    """Patterns have a token for each of a subject's, or `*`, or end with `>`."""
    if pattern.endswith(">"):
        return subject.startswith(pattern[:-1])
    pairs = zip(pattern.split("."), subject.split("."), strict=False)
    is_as_long = pattern.count(".") == subject.count(".")
    return is_as_long and all(one in {"*", other} for one, other in pairs)


def _is_in_use(consumer: api.ConsumerInfo) -> bool:
    """Whether a process reads from it: its request is open, or was answered a moment ago."""
    if consumer.num_waiting:
        return True
    active = consumer.delivered.last_active if consumer.delivered else None
    return active is not None and (clock.now() - active).total_seconds() < IN_USE_SECONDS
