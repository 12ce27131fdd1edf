"""A nudge: a service publishes its events of one entity again, and tries at once what it was to do later.

It repairs whatever the broker has lost of the entity. Consumers recognize events that they have handled, so it changes
nothing when nothing was lost. Deadlines stay where they are; a schedule rule may replace a task that was lost.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from shared.chassis.engine.service_logic import RecordHook
from shared.chassis.messages import clock
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage import event_log, task_queue


def hook(nudges: tuple[type[Event], ...], kinds: Collection[str]) -> RecordHook:
    """Marks events and tasks, in the transaction that consumes or records the nudge.

    `kinds` are the tasks that may be executed earlier.
    """

    def nudge(
        connection: Connection, consumed: Sequence[RecordedEvent], own: Sequence[RecordedEvent]
    ) -> None:
        for entity_id in nudged_entities(nudges, [*consumed, *own]):
            event_log.resend_entity(connection, entity_id)
            task_queue.make_all_due(connection, entity_id, list(kinds), clock.now())

    return nudge


def nudged_entities(nudges: tuple[type[Event], ...], events: Sequence[RecordedEvent]) -> list[str]:
    """The entities that these events nudge, each once."""
    nudged = (recorded.entity_id for recorded in events if isinstance(recorded.event, nudges))
    return list(dict.fromkeys(nudged))
