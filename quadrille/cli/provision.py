"""`quadrille provision`: creates the broker's stream and corrects it, which the services are not allowed to do."""

import asyncio
import contextlib
import signal

import click
import structlog

from quadrille.launcher.nats_users import PROVISIONER
from shared.chassis.errors import REFUSED
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS, ConnectionLostError
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.runtime import logs
from shared.chassis.settings import SettingsError
from shared.settings import ShopSettings, load

POLL_SECONDS = 2

log = structlog.get_logger()


class SettingsRefused(click.ClickException):
    """Another start would refuse them again."""

    exit_code = REFUSED


@click.command()
@click.option("--once", is_flag=True, help="Exit when the stream is as it should be.")
def provision(once: bool) -> None:
    """Creates the stream SHOP, also after the broker has lost it, and corrects changes to it.

    QUADRILLE_NATS_URL names a user who is allowed to; QUADRILLE_STREAM_MAX_AGE_SECONDS and
    QUADRILLE_STREAM_MAX_BYTES limit the stream.
    """
    try:
        settings = load()
        logs.configure(PROVISIONER, settings)
        asyncio.run(_run(settings, once=once))
    except SettingsError as error:
        raise SettingsRefused(str(error)) from error
    except ConnectionLostError as error:
        raise click.ClickException(str(error)) from error


async def _run(settings: ShopSettings, *, once: bool) -> None:
    provisioning = asyncio.ensure_future(maintain_stream(settings, once=once))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, provisioning.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await provisioning


async def maintain_stream(settings: ShopSettings, *, once: bool = False) -> None:
    """Runs until cancelled, or `once` the stream is as it should be. Raises ConnectionLostError."""
    broker = JetStreamConnection(PROVISIONER, settings)
    streams = StreamManager(broker, settings)
    reported: list[str] = []
    try:
        await broker.connect()
        while True:
            broker.raise_if_lost()
            problems = await _provision(broker, streams)
            if problems and problems != reported:
                log.warning("stream.misconfigured", problems=problems)
            reported = problems
            if once and not problems:
                return
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await broker.close()


async def _provision(broker: JetStreamConnection, streams: StreamManager) -> list[str]:
    """The problems that remain."""
    try:
        return await streams.ensure(provisions=True)
    except BROKER_ERRORS as error:
        return [broker.explain(error)]
