"""What every event is: a frozen fact with one emitter, about one entity."""

from typing import Annotated, ClassVar

import msgspec

# `$` alone would let a trailing newline through, and ids become NATS subjects.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")]
EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Word = Annotated[str, msgspec.Meta(max_length=64)]
"""A name that a service or a carrier gives: of a template, a category, a carrier."""
Name = Annotated[str, msgspec.Meta(max_length=200)]
Email = Annotated[str, msgspec.Meta(max_length=254)]
Locale = Annotated[str, msgspec.Meta(max_length=35)]
Currency = Annotated[str, msgspec.Meta(max_length=3)]
Reason = Annotated[str, msgspec.Meta(max_length=500)]
TrackingNumber = Annotated[str, msgspec.Meta(max_length=100)]
MAX_ERROR_LENGTH = 2000
Error = Annotated[str, msgspec.Meta(max_length=MAX_ERROR_LENGTH)]

Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
MAX_LINES = 100
Total = Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES * 1_000_000)]
"""Of several lines: no single line's bound holds for it."""
Stock = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Money = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_LINES * 1_000_000 * 1_000_000_000)]
"""What all lines of an order cost."""

AddressPart = Annotated[str, msgspec.Meta(max_length=64)]
AddressLine = Annotated[str, msgspec.Meta(max_length=200)]
Address = Annotated[dict[AddressPart, AddressLine], msgspec.Meta(max_length=20)]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fact, in the past tense. Fields are added as optional, never changed or removed.

    Every string, number and collection has an upper bound, so that an event always fits into one message and one row.
    """

    KEY: ClassVar[str]
    """The field holding the id of the entity the event is about: its place in the subject."""
    SCHEMA_VERSION: ClassVar[int] = 1


class LineItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """So many of one product; of an order's lines added up, perhaps more than one line may ask for."""

    product_id: Id
    quantity: Total


LineItems = Annotated[tuple[LineItem, ...], msgspec.Meta(max_length=MAX_LINES)]


def entity_id(event: Event) -> str:
    """Whom the event is about: the order for every event of a saga, else the product or customer."""
    entity: str = getattr(event, event.KEY)
    return entity
