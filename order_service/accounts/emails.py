"""The canonical form of an e-mail address, so that addresses that look or deliver alike share one account."""

import re
import unicodedata

import idna

from shared.chassis.messages.plain_text import EMAIL_ADDRESS

PATTERN = EMAIL_ADDRESS
MAX_LENGTH = 254


def canonical(email: str) -> str:
    """In lower case and compatibility form (NFKC), the domain in ASCII (IDNA). Raises ValueError."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", email).lower())
    if not re.match(PATTERN, text):
        raise ValueError("not an e-mail address")
    name, _, domain = text.partition("@")
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError("its domain is not one that can exist") from error
    if ascii_domain.endswith("."):
        raise ValueError("its domain ends with a dot")
    if len(name) + 1 + len(ascii_domain) > MAX_LENGTH:
        raise ValueError("too long")
    return f"{name}@{ascii_domain}"


def mailbox(email: str) -> str:
    """The mailbox that a canonical address probably delivers to: without the part after a `+`."""
    name, _, domain = email.partition("@")
    return f"{name.partition('+')[0] or name}@{domain}"
