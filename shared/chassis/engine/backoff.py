"""Growing pauses between attempts that fail."""

import asyncio

INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
MAX_DOUBLINGS = 30


def backoff_seconds(initial_seconds: float, max_seconds: float, failures: int) -> float:
    """The pause after this number of earlier failures: it doubles from the initial one up to the maximum."""
    doubled: float = initial_seconds * 2 ** min(failures, MAX_DOUBLINGS)
    return min(doubled, max_seconds)


class Backoff:
    """The pauses of one loop."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """An attempt succeeded: the next pause is the initial one."""
        self._failures = 0

    async def pause(self) -> None:
        """Wait after an attempt that failed."""
        seconds = backoff_seconds(INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, self._failures)
        self._failures += 1
        await asyncio.sleep(seconds)
