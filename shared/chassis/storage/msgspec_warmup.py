"""A precaution for threads that make Structs of rows."""

from collections.abc import Iterator
from typing import Any

import msgspec


def prepare() -> None:
    """Let msgspec learn every Struct there is, in this thread.

    It otherwise does so when one is first converted to, and a second thread that comes meanwhile finds it
    half built and crashes the process (msgspec 0.22).
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
