"""How a service gets past events from the log that they are recorded in, without the stream: page by page, on request.

The requester sends a PageRequest to `replay.request.<owner>.<requester>`; the owner answers with a message on
`replay.events.<requester>.<owner>`, whose body is a CloudEvents batch: an array of the envelopes that it publishes.
The broker's permissions see to it that only the owner can answer. Nothing of a replay is stored anywhere: a requester
that gets no answer asks again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec

from shared.chassis.messages.event import EventId, Label

MAX_EVENTS = 500
"""In a page, which the requester applies in one transaction."""
MAX_PAGE_BYTES = 192 * 1024
"""Three quarters of the payload that the broker accepts. A longer event has a page of its own."""
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"

Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class PageRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`request_id` cannot be guessed: an answer that carries it is from somebody who got the request."""

    request_id: EventId
    after: Position = 0
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """Replaces `after`: the page begins with the first event that was recorded at this time or later."""
    types: Annotated[tuple[Label, ...], msgspec.Meta(max_length=100)] = ()
    """Of all types if there are none."""
    most: Annotated[int, msgspec.Meta(ge=0, le=MAX_EVENTS)] = MAX_EVENTS
    """0 asks only for the end of the log."""


class PageHeaders(NamedTuple):
    """The headers of an answer."""

    request_id: str
    through: int
    """The page contains every requested event up to this position."""
    end: int
    """The last position of the owner's log."""

    def encode(self) -> dict[str, str]:
        return {
            "Content-Type": BATCH_CONTENT_TYPE,
            "Replay-Request": self.request_id,
            "Replay-Through": str(self.through),
            "Replay-End": str(self.end),
        }

    @classmethod
    def decode(cls, headers: Mapping[str, str] | None) -> "PageHeaders":
        """Raises ValueError for a message that is no answer."""
        try:
            fields = dict(headers or {})
            through, end = int(fields["Replay-Through"]), int(fields["Replay-End"])
            return cls(str(fields["Replay-Request"]), through, end)
        except KeyError as error:
            raise ValueError(f"without {error}") from error


def encode_batch(bodies: list[bytes]) -> bytes:
    return b"[" + b",".join(bodies) + b"]"


decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
encode_request = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(PageRequest).decode
