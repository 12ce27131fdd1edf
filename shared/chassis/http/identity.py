"""What a service keeps of the events that access tokens and links are checked by, in the transaction that receives them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from shared.chassis.engine.service_logic import RecordHook
from shared.chassis.http import links, signing_keys, token_versions
from shared.chassis.messages.identity_events import IDENTITY, LinkKeyPublished
from shared.chassis.messages.recorded_event import RecordedEvent

EVENTS = (*IDENTITY, LinkKeyPublished)


def concerns(events: Sequence[object]) -> bool:
    """Whether one of the events changes which tokens or links are accepted."""
    return any(
        isinstance(recorded, RecordedEvent) and isinstance(recorded.event, EVENTS)
        for recorded in events
    )


def hook(source: str) -> RecordHook:
    """For the events that the service `source` consumes or records."""

    def keep(
        connection: Connection, consumed: Sequence[RecordedEvent], own: Sequence[RecordedEvent]
    ) -> None:
        received = [recorded for recorded in consumed if isinstance(recorded.event, EVENTS)]
        recorded_now = [recorded for recorded in own if isinstance(recorded.event, EVENTS)]
        if received or recorded_now:
            signing_keys.keep(connection, source, received, recorded_now)
            token_versions.keep(connection, [*received, *recorded_now])
            links.keep(connection, [*received, *recorded_now])

    return keep
