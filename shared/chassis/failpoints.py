"""Named places where a test can end the process as `kill -9` does."""

import os

FAILPOINTS = (
    "before_commit",
    "after_commit",
    "after_publish",
    "after_marking",
    "after_handling",
    "after_ack",
    "after_smtp_accepted",
    "after_rebuild_batch",
    "in_rebuild_swap",
    "after_rebuild_swap",
)

EXIT_CODE = 86

_armed: dict[str, int] = {}


def arm(failpoint: str | None) -> None:
    """Exit at the named point: `after_commit`, or `after_commit:3` when it is passed for the third time.

    Raises ValueError for an unknown point.
    """
    _armed.clear()
    if failpoint is None:
        return
    point, _, passing = failpoint.partition(":")
    if point not in FAILPOINTS or not (passing or "1").isdigit():
        message = f"{failpoint!r} is not a failpoint; there are {', '.join(FAILPOINTS)}"
        raise ValueError(message)
    _armed[point] = int(passing or 1)


def failpoint(point: str) -> None:
    """Exit immediately if this failpoint is armed."""
    if point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] <= 0:
        os._exit(EXIT_CODE)
