"""The databases that commit d2ccd00 wrote, for tests of what a later release makes of them.

tests/fixtures/databases_of_d2ccd00/README.md lists what happened in that shop.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parents[1] / "fixtures" / "databases_of_d2ccd00"
SERVICES = ("order", "inventory", "shipping", "notifier", "read")


def unpack(service: str, directory: Path) -> Path:
    """The database of one service, as `directory`/<service>.db."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{service}.db"
    file.write_bytes(gzip.decompress((FIXTURE / f"{service}.db.gz").read_bytes()))
    return file


def unpack_all(directory: Path) -> None:
    for service in SERVICES:
        unpack(service, directory)


@cache
def renamed_columns() -> dict[str, dict[str, str]]:
    """By table: the current name of a column, by its name in that release."""
    columns: dict[str, dict[str, str]] = json.loads((FIXTURE / "renamed_columns.json").read_text())
    return columns


def expected() -> dict[str, Any]:
    """What that release answered: `orders` by outcome, a `customer`, and `answers` by service and path."""
    document: dict[str, Any] = json.loads(
        gzip.decompress((FIXTURE / "answers.json.gz").read_bytes())
    )
    return document
