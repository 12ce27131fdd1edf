"""An address to ship to."""

from typing import Any

import msgspec

from shared.contracts import Address

ADDRESS = Address(
    name="Aiko Yamada",
    lines=("1-2-3 Shibuya", "Room 405"),
    postcode="150-0002",
    city="Tokyo",
    country="JP",
    phone="+81 3 1234 5678",
)
ADDRESS_BODY: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ADDRESS))
"""As JSON: the body of a request, and what is answered."""
