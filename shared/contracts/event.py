"""What every event is: a frozen fact with one emitter, about one entity."""

from typing import Annotated, ClassVar

import msgspec

# `$` alone would let a trailing newline through, and ids become NATS subjects.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Total = Annotated[int, msgspec.Meta(ge=1)]
"""Of several lines: no single line's bound holds for it."""
Money = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fact, in the past tense. Fields are added as optional, never changed or removed."""

    KEY: ClassVar[str]
    """The field holding the id of the entity the event is about: its place in the subject."""
    SCHEMA_VERSION: ClassVar[int] = 1


class Line(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """So many of one product; of an order's lines added up, perhaps more than one line may ask for."""

    product_id: Id
    quantity: Total


def entity_id(event: Event) -> str:
    """Whom the event is about: the order for every event of a saga, else the product or customer."""
    entity: str = getattr(event, event.KEY)
    return entity
