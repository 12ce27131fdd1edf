"""The NATS subjects: of events `shop.<source>.<entity id>.<event_in_snake_case>`, and those of replays."""

import re
from functools import lru_cache

from shared.chassis.messages.event import Event

STREAM = "SHOP"
EVERYTHING = "shop.>"

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


@lru_cache(maxsize=256)  # bounded: a message may name any type
def event_token(event_type: str) -> str:
    """`StockReserved` is `stock_reserved` in a subject."""
    return _WORD_START.sub("_", event_type).lower()


def subject_of(source: str, entity: str, event_type: str) -> str:
    """The only subject under which the event is accepted."""
    return f"shop.{source}.{entity}.{event_token(event_type)}"


def everything_of(source: str) -> str:
    """The subject filter for all events of one service."""
    return f"shop.{source}.>"


def subject_of_every(source: str, event_type: type[Event]) -> str:
    """The subject filter for one event type and any entity."""
    return f"shop.{source}.*.{event_token(event_type.__name__)}"


def replay_request(owner: str, requester: str) -> str:
    """Where `requester` asks the owner of an event log for a page of it."""
    return f"replay.request.{owner}.{requester}"


def replay_events(requester: str, owner: str) -> str:
    """Where the owner's pages for `requester` arrive."""
    return f"replay.events.{requester}.{owner}"
