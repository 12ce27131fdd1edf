"""The fields that several bodies of this API share."""

from typing import Annotated

from msgspec import Meta

from order_service.accounts import emails
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.messages.plain_text import LINE, LINE_WITHOUT_LINK

Email = Annotated[str, Meta(max_length=emails.MAX_LENGTH, pattern=emails.PATTERN)]
Reason = Annotated[str, Meta(max_length=500, pattern=LINE)]
AddressPart = Annotated[str, Meta(max_length=64, pattern=LINE_WITHOUT_LINK)]
AddressLine = Annotated[str, Meta(max_length=100, pattern=LINE_WITHOUT_LINK)]
Address = Annotated[dict[AddressPart, AddressLine], Meta(max_length=20)]


def canonical_email(email: str) -> str:
    """The address in its one spelling. Raises BadRequest."""
    try:
        return emails.canonical(email)
    except ValueError as error:
        raise BadRequest(FieldError(field="email", message=str(error))) from error
