"""Text that users enter and others read: no control characters, and no format characters that hide or reverse text.

The zero-width joiner and non-joiner stay: names in Persian, Hindi and other languages need them.
"""

CONTROLS = r"\x00-\x1f\x7f-\x9f"
FORMATS = r"\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"

LINE = rf"^[^{CONTROLS}{FORMATS}]*$(?!\n)"
"""One line of text."""

LINE_WITHOUT_LINK = rf"^(?!.*://)[^{CONTROLS}{FORMATS}]*$(?!\n)"
"""The same for text that is mailed to other people: mail programs turn URLs into links."""

FILLED_LINE_WITHOUT_LINK = rf"^(?=.*\S)(?!.*://)[^{CONTROLS}{FORMATS}]*$(?!\n)"
"""The same, and not only spaces."""

PATH_SEGMENT = rf"^(?=.*\S)[^./{CONTROLS}{FORMATS}][^/{CONTROLS}{FORMATS}]*$(?!\n)"
"""One line that can be a part of a URL's path."""

TEXT = rf"^(?:[^{CONTROLS}{FORMATS}]|[\t\n\r])*$(?!\n)"
"""Several lines."""

WEB_ADDRESS = rf"^https?://[^\s{CONTROLS}{FORMATS}]+$(?!\n)"

_EMAIL_WORD = rf'[^\s{CONTROLS}{FORMATS}\u200c\u200d"(),:;<>@\[\\\]]+'
"""Characters that need no quotes in a mail's header, in any script."""

EMAIL_ADDRESS = rf"^{_EMAIL_WORD}@{_EMAIL_WORD}$(?!\n)"

IDENTIFIER = r"^[A-Za-z0-9_-]+$(?!\n)"
"""`$` alone would let a trailing newline through, and identifiers become NATS subjects."""

COUNTRY_CODE = r"^[A-Z]{2}$(?!\n)"

IN_WORDS = {
    LINE: "without control or hidden format characters",
    LINE_WITHOUT_LINK: "without control or hidden format characters, and without ://",
    FILLED_LINE_WITHOUT_LINK: (
        "that is not blank, without control or hidden format characters, and without ://"
    ),
    PATH_SEGMENT: "that is not blank, does not begin with a dot, and contains neither / nor hidden characters",
    TEXT: "without control or hidden format characters, other than line breaks and tabs",
    WEB_ADDRESS: "that starts with https:// or http://",
    EMAIL_ADDRESS: "that is an e-mail address",
    IDENTIFIER: "of letters, digits, - and _",
    COUNTRY_CODE: "of two capital letters, such as JP (ISO 3166-1)",
}
"""The descriptions that callers see instead of the patterns."""
