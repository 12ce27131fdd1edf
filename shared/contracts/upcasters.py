"""How the data of older schema versions becomes that of the next version."""

import re
from collections.abc import Mapping
from typing import Any

from shared.chassis.messages.catalog import Upcasters

PART_NAMES = {
    "name": ("name", "fullname", "recipient"),
    "postcode": ("postcode", "postalcode", "zip", "zipcode"),
    "city": ("city", "town", "locality"),
    "country": ("country", "countrycode"),
    "phone": ("phone", "phonenumber", "telephone", "tel"),
}
"""By the field of an address: the names that customers gave its part, in lower case and without other characters."""
_FIELDS = {name: field for field, names in PART_NAMES.items() for name in names}
_SEPARATORS = re.compile(r"[^a-z0-9]")
_COUNTRY_CODE = re.compile(r"[A-Za-z]{2}")


def address_of_parts(parts: Mapping[str, str]) -> dict[str, Any]:
    """The address of an earlier release, whose parts had any names: no text of it is lost.

    A part with another name becomes a line, as does a country that is no code.
    """
    address: dict[str, Any] = {"name": "", "lines": [], "postcode": "", "city": ""}
    for name, text in parts.items():
        field = _FIELDS.get(_SEPARATORS.sub("", name.lower()))
        if field == "country" and _COUNTRY_CODE.fullmatch(text):
            text = text.upper()  # noqa: PLW2901 - as the later version writes it
        elif field == "country":
            field = None
        if field is None or address.get(field):
            address["lines"] += [text] if text else []
        else:
            address[field] = text
    return address


def _with_structured_address(data: dict[str, Any]) -> dict[str, Any]:
    parts = data.get("shippingAddress")
    return data if parts is None else {**data, "shippingAddress": address_of_parts(parts)}


UPCASTERS: Upcasters = {
    ("OrderCreated", 1): _with_structured_address,
    ("ShipmentInitiated", 1): _with_structured_address,
}
