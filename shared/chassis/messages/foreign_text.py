"""Text from other systems: a mail server's reply, an exception's message."""

MAX_LENGTH = 500
"""Fits into every field of an event that holds a reason or an error."""


def cleaned(text: str) -> str:
    """The text without characters that UTF-8 cannot encode, and of bounded length.

    aiosmtplib decodes replies with `surrogateescape`: a Latin-1 reply holds lone surrogates, which
    neither JSON nor SQLite accepts.
    """
    return text[:MAX_LENGTH].encode("utf-8", "replace").decode()
