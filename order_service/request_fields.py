"""The fields that several bodies of this API share."""

from typing import Annotated

import msgspec
from msgspec import Meta

from order_service.accounts import emails
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.http.request_body import RequestBody
from shared.chassis.messages.plain_text import (
    COUNTRY_CODE,
    FILLED_LINE_WITHOUT_LINK,
    LINE,
    PATH_SEGMENT,
)
from shared.contracts import Address

Email = Annotated[str, Meta(max_length=emails.MAX_LENGTH, pattern=emails.PATTERN)]
NewPassword = Annotated[str, Meta(min_length=8, max_length=256)]
Reason = Annotated[str, Meta(max_length=500, pattern=LINE)]
AddressText = Annotated[str, Meta(min_length=1, max_length=100, pattern=FILLED_LINE_WITHOUT_LINK)]

AddressName = Annotated[str, Meta(min_length=1, max_length=40, pattern=PATH_SEGMENT)]
"""Of an address in the address book."""


class NewAddress(RequestBody, frozen=True, kw_only=True):
    """Where an order is shipped to; `country` is an ISO 3166-1 alpha-2 code."""

    name: AddressText
    lines: Annotated[tuple[AddressText, ...], Meta(min_length=1, max_length=3)]
    postcode: Annotated[str, Meta(min_length=1, max_length=20, pattern=FILLED_LINE_WITHOUT_LINK)]
    city: AddressText
    country: Annotated[str, Meta(max_length=2, pattern=COUNTRY_CODE)]
    phone: (
        Annotated[str, Meta(min_length=1, max_length=40, pattern=FILLED_LINE_WITHOUT_LINK)] | None
    ) = None


class Delivery(RequestBody, frozen=True, kw_only=True):
    """Where an order is shipped to: an address, or the name of one in the customer's address book."""

    shipping_address: NewAddress | None = None
    address_name: AddressName | None = None


def contract_address(address: NewAddress) -> Address:
    """The address as events carry it."""
    return msgspec.convert(address, Address, from_attributes=True)


def canonical_email(email: str) -> str:
    """The address in its one spelling. Raises BadRequest."""
    try:
        return emails.canonical(email)
    except ValueError as error:
        raise BadRequest(FieldError(field="email", message=str(error))) from error
