"""The fields that several bodies of this API share."""

from typing import Annotated

from litestar.params import QueryParameter
from msgspec import Meta

_WORD = r'[^\s\x00-\x1f\x7f"(),:;<>@\[\\\]]+'
"""What needs no quotes in a mail's header, in any script."""

Email = Annotated[str, Meta(max_length=254, pattern=rf"^{_WORD}@{_WORD}$(?!\n)")]
AddressPart = Annotated[str, Meta(max_length=64)]
AddressLine = Annotated[str, Meta(max_length=200)]
Address = Annotated[dict[AddressPart, AddressLine], Meta(max_length=20)]
PageSize = Annotated[int, QueryParameter(ge=1, le=200)]
