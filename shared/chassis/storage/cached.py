"""Rows in memory, for what is needed with every request and changes rarely."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import Connection

from shared.chassis.storage.database import Database

T = TypeVar("T")


class Cached(Generic[T]):
    """What `load` reads. The database is read again only after `reload`, whatever requests ask for."""

    def __init__(self, database: Database, load: Callable[[Connection], T]) -> None:
        self._database = database
        self._load = load
        self._loading = asyncio.Lock()
        self._changes = 1
        self._loaded: tuple[int, T] | None = None
        """The number of changes before the load, and what was loaded."""

    def reload(self) -> None:
        """Read the database again before the next use: its rows have changed."""
        self._changes += 1

    async def get(self) -> T:
        """Raises what the database raises."""
        if self._loaded and self._loaded[0] == self._changes:
            return self._loaded[1]
        async with self._loading:
            if self._loaded is None or self._loaded[0] != self._changes:
                change = self._changes  # read first: a change during the load requires another load
                self._loaded = change, await self._database.run(self._load)
            return self._loaded[1]
