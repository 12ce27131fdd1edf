"""W3C trace context, passed from cause to effect."""

import re
import secrets

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def child_of(traceparent: str | None) -> str:
    """A new span of the trace in `traceparent`; of a new trace if it is missing or invalid."""
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        trace_id, flags = traceparent[3:35], traceparent[53:]
    else:
        trace_id, flags = secrets.token_hex(16), "01"
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
