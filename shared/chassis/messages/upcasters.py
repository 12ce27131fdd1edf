"""Old shapes of events, and how each becomes the next: applied on reading, in order.

None has been needed yet. The first breaking change raises its event's `SCHEMA_VERSION` and
adds `("OrderCreated", 1): from_v1_to_v2` here, with a golden sample of the old shape in the tests.
"""

from collections.abc import Callable
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: dict[tuple[str, int], Upcaster] = {}


def upcast(
    event_type: str,
    version: int,
    data: dict[str, Any],
    wanted: int,
    upcasters: dict[tuple[str, int], Upcaster] = UPCASTERS,
) -> dict[str, Any]:
    """Lift `data` step by step from `version` to `wanted`.

    Raises KeyError when a step is missing, or the version is one of a later time.
    """
    if version > wanted:
        raise KeyError(event_type, version)
    for step in range(version, wanted):
        data = upcasters[event_type, step](data)
    return data
