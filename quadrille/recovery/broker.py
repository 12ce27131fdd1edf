"""The broker of a shop that does not run: the one that the settings name, or the data directory's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from msgspec.structs import replace

from quadrille.data_directory import BROKER_USERS, LOGS
from shared.chassis.settings import inherited
from shared.settings import ShopSettings


@asynccontextmanager
async def settings_with_broker(service: str, settings: ShopSettings) -> AsyncIterator[ShopSettings]:
    """Settings that name a broker that runs, at least until the end of the block. Raises CannotStart.

    The broker of `quadrille up` ends with its services, so it is started here.
    """
    users = settings.data_dir / BROKER_USERS
    url_file = users / f"{service}.url"
    if settings.nats_url != ShopSettings().nats_url or not url_file.is_file():
        yield settings
        return
    from quadrille.launcher import nats_server  # noqa: PLC0415 - needs what the image does not contain

    own = replace(settings, nats_url=url_file.read_text().strip())
    port = urlsplit(own.nats_url).port or settings.nats_port
    if await nats_server.is_listening(port):
        yield own
        return
    log = settings.data_dir / LOGS / f"{nats_server.NAME}.log"
    async with nats_server.running_broker(port, users, log, inherited()):
        yield own
