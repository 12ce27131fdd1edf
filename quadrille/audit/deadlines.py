"""How long work may wait in a shop that runs, until `quadrille check` calls it a violation."""

import math

import msgspec


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds, each longer than a restart, an outage of the broker or a retry that needs no operator."""

    publish_seconds: float = 60
    """From the recording of an event to the broker's acknowledgement."""
    handle_seconds: float = 120
    """From the recording of an event to its end in a service that consumes it."""
    task_seconds: float = 300
    """From a task's due time to its next attempt. The orders' deadlines wait for the grace period after an outage."""

    @classmethod
    def of(cls, seconds: float) -> "Deadlines":
        return cls(publish_seconds=seconds, handle_seconds=seconds, task_seconds=seconds)


NEVER = Deadlines.of(math.inf)
"""For a shop that does not run: nothing can move."""
