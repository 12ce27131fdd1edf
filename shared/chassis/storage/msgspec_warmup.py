"""Prepares msgspec's types before threads use them: msgspec is not thread-safe there."""

from collections.abc import Iterator
from typing import Any

import msgspec


def prepare() -> None:
    """Build msgspec's type information of every Struct, in this thread.

    Otherwise msgspec builds it at the first conversion; a second thread that converts to the same Struct meanwhile
    uses it half built, and crashes the process (msgspec 0.22).
    """
    for struct in set(_subclasses(msgspec.Struct)):
        try:
            msgspec.json.Decoder(struct)
        except TypeError:  # nothing can be converted to it then, by any thread
            continue


def _subclasses(parent: type[Any]) -> Iterator[type[Any]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)
