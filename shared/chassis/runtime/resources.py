"""What every service has: its database, its connection to the broker, the keys that it trusts, and its loops."""

from contextlib import AsyncExitStack

from shared.chassis.http.auth import PublicKeys
from shared.chassis.http.links import LinkKeys
from shared.chassis.http.rate_limits import Limiter
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.runtime.loops import Loop
from shared.chassis.settings import ChassisSettings
from shared.chassis.storage import database_identity
from shared.chassis.storage.database import database_url, open_for_reading, open_for_writing
from shared.chassis.storage.reader import Reader


class Resources:
    """Opened with the process; what was started is stopped in the opposite order."""

    def __init__(self, name: str, settings: ChassisSettings) -> None:
        url = database_url(name, settings)
        self.database = open_for_writing(url)
        self.reads = open_for_reading(url)
        self.reader = Reader(url)
        self.broker = JetStreamConnection(name, settings)
        self.streams = StreamManager(self.broker, settings)
        self.keys = PublicKeys(self.reads)
        self.links = LinkKeys(self.reads)
        self.limits = Limiter(settings.rate_limits)
        self._running = AsyncExitStack()

    def lock(self) -> None:
        """Make sure that no other process uses the database, until `close`. Raises FatalError."""
        lock = database_identity.lock(self.database.url)
        self._running.callback(lock.release)
        for resource in (self.reader, self.reads, self.database, self.broker):
            self._running.push_async_callback(resource.close)

    def reload_identity(self) -> None:
        """What tokens and links are checked by has changed in the database."""
        self.keys.reload()
        self.links.reload()

    def start(self, *loops: Loop) -> None:
        """Start these loops, each after those that it depends on."""
        watches = (
            Loop("database", self.database.watch),
            Loop("reads", self.reads.watch),
            Loop("reader", self.reader.watch),
        )
        for loop in (*watches, *loops):
            loop.start()
            self._running.push_async_callback(loop.stop)

    async def close(self) -> None:
        """Stop the loops, then close everything."""
        await self._running.aclose()
