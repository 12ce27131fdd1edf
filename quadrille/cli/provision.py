"""`quadrille provision`: keeps the broker's stream as the settings echo, which the services may not do."""

import asyncio
import contextlib
import signal

import click
import structlog

from quadrille.launcher.nats_users import PROVISIONER
from shared.chassis.errors import FatalError
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import BROKER_ERRORS
from shared.chassis.jetstream.stream_manager import StreamManager
from shared.chassis.runtime import logs
from shared.settings import Settings, SettingsError, load

LOOK_SECONDS = 2

log = structlog.get_logger()


@click.command()
@click.option("--once", is_flag=True, help="End when the stream is there.")
def provision(once: bool) -> None:
    """Keep a broker's stream as the settings say.

    Creates the stream SHOP, and again when the broker has lost it; corrects it when somebody has changed it.
    QUADRILLE_NATS_URL names a user who may do that; QUADRILLE_STREAM_MAX_AGE_SECONDS and
    QUADRILLE_STREAM_MAX_BYTES are the stream's limits.
    """
    try:
        settings = load()
        logs.configure(PROVISIONER, settings)
        asyncio.run(_run(settings, once=once))
    except (SettingsError, FatalError) as error:
        raise click.ClickException(str(error)) from error


async def _run(settings: Settings, *, once: bool) -> None:
    keeping = asyncio.ensure_future(keep(settings, once=once))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, keeping.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


async def keep(settings: Settings, *, once: bool = False) -> None:
    """Look after the stream until cancelled, or until it is there. Raises ConnectionLostError."""
    broker = JetStreamConnection(PROVISIONER, settings)
    streams = StreamManager(broker, settings)
    known: list[str] = []
    try:
        await broker.connect()
        while True:
            broker.raise_if_lost()
            problems = await _problems(broker, streams)
            if problems and problems != known:
                log.warning("stream.misconfigured", problems=problems)
            known = problems
            if once and not problems:
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await broker.close()


async def _problems(broker: JetStreamConnection, streams: StreamManager) -> list[str]:
    try:
        return await streams.ensure(provisions=True)
    except BROKER_ERRORS as error:
        return [broker.explain(error)]
