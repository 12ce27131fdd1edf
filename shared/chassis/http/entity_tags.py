"""Entity tags of what can be edited, and `If-Match`: an edit of what has changed since the caller read it answers 412.

A tag is `"<digest>"`, or `"<digest>.<digest>"` if only a part of the representation is edited: the first is of that
part, and `If-Match` compares only it. So a sold unit does not refuse a new price.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated, TypeVar

import msgspec
from litestar import Response
from litestar.params import HeaderParameter

from shared.chassis.messages.rejection import Rejected

State = TypeVar("State")
View = TypeVar("View", bound=msgspec.Struct)

HAS_TAG = {"has_entity_tag": True}
"""The `opt` of a route whose response has an `ETag`."""
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="an `ETag` of this resource: if it has changed since, the answer is 412",
    ),
]
_TAG = re.compile(r'(?:^|,)\s*"([^".]*)[^"]*"')
"""The part of a strong tag that is compared. A weak one never matches."""


def entity_tag(view: msgspec.Struct, edited: object = None) -> str:
    """The `ETag` of a representation; `edited` is the part that an edit replaces, if it is not all of it."""
    digest = _digest(view)
    return f'"{digest}"' if edited is None else f'"{_digest(edited)}.{digest}"'


def tagged(view: View, edited: object = None) -> Response[View]:
    """The response with this content and its tag."""
    return Response(view, headers={"ETag": entity_tag(view, edited)})


def require_match(if_match: str | None, edited: object) -> None:
    """Raises Rejected: `precondition-failed` if the caller has read another state than the current one."""
    if if_match is None or if_match.strip() == "*":
        return
    if _digest(edited) not in _TAG.findall(if_match):
        raise Rejected("precondition-failed", "it has changed since you read it: read it again")


def unchanged(
    if_match: str | None, edited: Callable[[State], object | None]
) -> Callable[[State], None] | None:
    """The precondition of a command, as `require_match`; `edited` returns None for what does not exist."""
    if if_match is None:
        return None

    def check(state: State) -> None:
        if (current := edited(state)) is not None:
            require_match(if_match, current)

    return check


def _digest(value: object) -> str:
    return blake2b(msgspec.json.encode(value), digest_size=9).hexdigest()
