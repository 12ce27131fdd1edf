"""One spelling for each e-mail address, so that an account is not taken twice by addresses that look or deliver alike."""

import re
import unicodedata

import idna

from shared.chassis.messages.plain_text import CONTROLS, FORMATS

_WORD = rf'[^\s{CONTROLS}{FORMATS}\u200c\u200d"(),:;<>@\[\\\]]+'
"""What needs no quotes in a mail's header, in any script."""

PATTERN = rf"^{_WORD}@{_WORD}$(?!\n)"
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
    """Where mails to a canonical address probably end: without the part behind a `+`."""
    name, _, domain = email.partition("@")
    return f"{name.partition('+')[0] or name}@{domain}"
