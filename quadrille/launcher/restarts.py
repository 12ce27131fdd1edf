"""When a process that has ended is started again, and when it is given up."""

import asyncio
import signal
import time
from collections import deque

from quadrille.output import echo
from shared.chassis.engine.backoff import backoff_seconds
from shared.chassis.errors import REFUSED

MAX_ENDS = 5
WINDOW_SECONDS = 60
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 8


class ProcessGivenUp(Exception):
    """A process is not started again: it refuses its settings or its database, or it has ended too often."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(name, code)
        self.name = name
        self.code = code


class Restarts:
    """Of one process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ends: deque[float] = deque()

    async def pause_after(self, code: int) -> None:
        """Print that it ended with this code, and wait until it may be started again. Raises ProcessGivenUp."""
        pause_seconds = self.pause_seconds(code, time.monotonic())
        if pause_seconds is None:
            raise ProcessGivenUp(self._name, code)
        echo(f"{self._name} {end_of(code)}; it is started again in {pause_seconds:g} s", "yellow")
        await asyncio.sleep(pause_seconds)

    def pause_seconds(self, code: int, now: float) -> float | None:
        """From this end, at `now`, to the next start; None if there is none."""
        while self._ends and self._ends[0] <= now - WINDOW_SECONDS:
            self._ends.popleft()
        self._ends.append(now)
        if code == REFUSED or len(self._ends) >= MAX_ENDS:
            return None
        return backoff_seconds(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, len(self._ends) - 1)


def end_of(code: int) -> str:
    """How a process with this exit code ended: `was ended by SIGKILL`, `exited with code 1`."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with code {code}"
