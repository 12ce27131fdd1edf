"""The read models as pure functions of the events.

Each source has rows of its own, so only the order within a source matters, never how sources interleave.
"""

from read_api.projections.unknown_entity import UnknownEntity

__all__ = ["UnknownEntity"]
