"""What every event is: an immutable fact, published by one service, about one entity."""

from typing import Annotated, ClassVar

import msgspec

from shared.chassis.messages.plain_text import IDENTIFIER

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=IDENTIFIER)]
EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Label = Annotated[str, msgspec.Meta(max_length=64)]
"""A short name: of an event type, a template, a category, a carrier."""
MAX_ERROR_LENGTH = 2000
Error = Annotated[str, msgspec.Meta(max_length=MAX_ERROR_LENGTH)]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A fact, in the past tense. Fields are added as optional, never changed or removed.

    Every string, number and collection has an upper bound, so that an event always fits into one message and one row.
    A base class for each publisher and entity declares `SOURCE`, `ENTITY` and the field that `ENTITY` names.
    """

    SOURCE: ClassVar[str | None] = None
    """The service that alone publishes it; None if every service may."""
    ENTITY: ClassVar[str]
    """The field with the id of the entity that the event is about: events of one entity keep their order."""
    SCHEMA_VERSION: ClassVar[int] = 1

    @property
    def entity_id(self) -> str:
        """The order for every event of a saga, else the product or customer. Part of the NATS subject."""
        entity_id: str = getattr(self, self.ENTITY)
        return entity_id
