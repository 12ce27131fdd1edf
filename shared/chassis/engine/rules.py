"""Distinguishes what a rule raises from what the database raises: only the former is caused by the message.

Rules are pure. A rule that raises will raise again for the same message, so the event becomes a dead letter. What the database,
its driver or the machine raises has nothing to do with the message, which is tried again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from shared.chassis.storage.database import TRANSIENT_DATABASE_ERRORS


class RuleFailed(Exception):
    """A rule raised; `error` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error


@contextmanager
def rules() -> Iterator[None]:
    """Raises RuleFailed for what is raised within, unless the infrastructure raised it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a rule may raise anything
        raise_as_failure(error)


def raise_as_failure(error: Exception) -> NoReturn:
    """Raises RuleFailed, or the error itself if the infrastructure raised it."""
    if isinstance(error, (RuleFailed, *TRANSIENT_DATABASE_ERRORS)):
        raise error
    raise RuleFailed(error) from error
