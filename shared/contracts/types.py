"""The types of the fields of events. An id type names the kind of entity that it identifies."""

from datetime import datetime
from typing import Annotated

import msgspec

from shared.chassis.messages.event import Id
from shared.chassis.messages.touches import id_of

OrderId = Annotated[Id, id_of("order")]
ProductId = Annotated[Id, id_of("product")]
CustomerId = Annotated[Id, id_of("customer")]
NotificationId = Annotated[Id, id_of("notification")]

Name = Annotated[str, msgspec.Meta(max_length=200)]
Email = Annotated[str, msgspec.Meta(max_length=254)]
Locale = Annotated[str, msgspec.Meta(max_length=35)]
Currency = Annotated[str, msgspec.Meta(max_length=3)]
Reason = Annotated[str, msgspec.Meta(max_length=500)]
MAX_TRACKING_NUMBER = 100
TrackingNumber = Annotated[str, msgspec.Meta(max_length=MAX_TRACKING_NUMBER)]

Moment = Annotated[datetime, msgspec.Meta(tz=True)]

MAX_LINES = 100
MAX_UNITS = 1_000_000
Quantity = Annotated[int, msgspec.Meta(ge=1, le=MAX_UNITS)]
TotalQuantity = Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES * MAX_UNITS)]
"""Of several lines added up: the bound of a single line does not hold for it."""
Stock = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Money = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
"""In the currency's minor unit."""
TotalAmount = Annotated[int, msgspec.Meta(ge=0, le=MAX_LINES * MAX_UNITS * 1_000_000_000)]
"""The price of all lines of an order."""

AddressText = Annotated[str, msgspec.Meta(max_length=200)]
CountryCode = Annotated[str, msgspec.Meta(max_length=2)]
"""ISO 3166-1 alpha-2."""


class Address(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where an order is shipped to.

    In an order of an earlier release any part may be empty, the country may be absent, and there may be more than three
    lines.
    """

    name: AddressText
    lines: Annotated[tuple[AddressText, ...], msgspec.Meta(max_length=20)]
    postcode: AddressText
    city: AddressText
    country: CountryCode | None = None
    phone: AddressText | None = None


class LineItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The quantity of one product. Lines of an order with the same product are added up."""

    product_id: ProductId
    quantity: TotalQuantity


LineItems = Annotated[tuple[LineItem, ...], msgspec.Meta(max_length=MAX_LINES)]
