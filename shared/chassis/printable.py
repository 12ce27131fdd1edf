"""Foreign text made safe for terminals and logs."""

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, formats such as the change of direction, lone surrogates, and Unicode's line ends."""


def printable(text: str, keep: str = "") -> str:
    r"""The text with control and invisible characters as escapes: `\x1b`, `\u202e`; those in `keep` stay unchanged."""
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or not _is_hidden(character) else _escaped(character)
        for character in text
    )


def printable_json(document: str) -> str:
    """The same JSON document with the same escapes; control characters between its tokens stay."""
    if document.isprintable():
        return document
    return "".join(
        _json_escaped(character)
        if character not in "\t\n\r" and _is_hidden(character)
        else character
        for character in document
    )


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _json_escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)
    )
