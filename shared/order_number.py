"""An order's short number, `7K3F-92QM`: what customers and operators read and type instead of the order id.

It is derived from the id, so it is in no event. It does not lead back to the id, which is a guest's secret. It has 40 bits:
of a million orders two may have the same number, so a search for one returns a list.
"""

import re
from hashlib import sha256

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without letters that look like digits, and without U."""
LENGTH = 8
_HALF = LENGTH // 2
_MEANT = str.maketrans({"O": "0", "I": "1", "L": "1", " ": None, "-": None})
_FORM = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")


def order_number(order_id: str) -> str:
    bits = int.from_bytes(sha256(order_id.encode()).digest()[:5])
    digits = "".join(ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))
    return _written(digits)


def parse_order_number(text: str) -> str | None:
    """The number as `order_number` writes it; None if the text is no number.

    Small letters, O for 0, I and L for 1, and a missing hyphen are accepted.
    """
    digits = text.upper().translate(_MEANT)
    return _written(digits) if _FORM.fullmatch(digits) else None


def _written(digits: str) -> str:
    return f"{digits[:_HALF]}-{digits[_HALF:]}"
