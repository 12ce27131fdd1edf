"""Who causes an event from outside the saga: a role, with the id of an account or the name of a carrier after a colon.

`customer:<id>`, `guest`, `operator:<id>`, `admin:<id>`, `carrier:<name>`, `deadline`, and `service` where none of them fits.
"""

from typing import Annotated

import msgspec

Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]

GUEST = "guest"
DEADLINE = "deadline"
SERVICE = "service"
"""The service itself, such as for the first admin and for a new signing key."""


def carrier(name: str) -> str:
    """The carrier of this name."""
    return f"carrier:{name}"
