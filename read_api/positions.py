"""A position in the log of each source, as text `order:12,inventory:30` in consistency tokens and message ids."""

import re
from collections.abc import Mapping

from shared.chassis.http.problems import BadRequest, FieldError
from shared.contracts import CATALOG

MAX_LENGTH = 128
"""Of the text: more than every source once, with the largest position."""

Positions = Mapping[str, int]
"""The last position of each source; 0 for one that is not named."""

_POSITION = f"(?:{'|'.join(sorted(CATALOG.sources))}):[0-9]{{1,18}}"
_POSITIONS = re.compile(f"{_POSITION}(?:,{_POSITION})*")


def parse_positions(text: str, field: str) -> Positions:
    """The positions in `text`, each of a known source, none named twice. Raises BadRequest."""
    pairs = [pair.split(":") for pair in text.split(",")] if _is_well_formed(text) else []
    positions = {source: int(position) for source, position in pairs}
    if not pairs or len(positions) < len(pairs):
        message = "expected positions, each source once, e.g. order:12,inventory:30"
        raise BadRequest(FieldError(field=field, message=message))
    return positions


def format_positions(positions: Positions) -> str:
    """The text that `parse_positions` reads."""
    return ",".join(f"{source}:{position}" for source, position in positions.items())


def contains(applied: Positions, required: Positions) -> bool:
    """Whether every required position is applied."""
    return all(applied.get(source, 0) >= position for source, position in required.items())


def of_every_source(positions: Positions) -> Positions:
    """The same positions, with those of the other sources, which are 0."""
    return {**dict.fromkeys(sorted(CATALOG.sources), 0), **positions}


def _is_well_formed(text: str) -> bool:
    return len(text) <= MAX_LENGTH and _POSITIONS.fullmatch(text) is not None
