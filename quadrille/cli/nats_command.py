"""`quadrille nats-config`: the configuration and the users of a broker that somebody else starts."""

from pathlib import Path

import click

from quadrille.launcher import nats_config
from quadrille.launcher.nats_config import OWNER_ONLY, Server, Tls
from quadrille.launcher.nats_users import VIEWER
from shared.settings import SettingsError, load

FOR_CONTAINERS = 0o444
"""A container's user is another one than the files' owner; their directory keeps everybody else out."""


@click.command("nats-config")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--address", default="127.0.0.1:4222", show_default=True, help="Where clients reach it."
)
@click.option("--listen", help="Where it listens.  [default: the address]")
@click.option("--store", help="Where it keeps the stream.  [default: `store` in the directory]")
@click.option("--tls-cert", help="Its certificate, a file; URLs then begin with tls://.")
@click.option("--tls-key", help="The certificate's key, a file.")
@click.option("--for-compose", is_flag=True, help="All of that as compose.yaml needs it.")
def nats_config_command(
    *,
    directory: Path,
    address: str,
    listen: str | None,
    store: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    for_compose: bool,
) -> None:
    """Write a broker's configuration and its users.

    DIRECTORY gets nats.conf for `nats-server --config`, and for each user a file with the URL that
    QUADRILLE_NATS_URL is to be: order.url, inventory.url and so on. Passwords that are there are kept; delete
    a file to have a new one made.
    """
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    tls = Tls(tls_cert, tls_key) if tls_cert and tls_key else None
    if for_compose:
        server, mode = _for_compose(tls), FOR_CONTAINERS
    else:
        kept = store or str((directory / "store").absolute())
        server, mode = Server(listen or address, kept, address, tls=tls), OWNER_ONLY
    urls = nats_config.write(directory, server, mode)
    click.echo(f"{directory} holds nats.conf and a URL for each of {', '.join(urls)}")
    click.echo(f"export NATS_URL={urls[VIEWER]}")


def _for_compose(tls: Tls | None) -> Server:
    try:
        port = load().nats_port
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    return Server(
        listen="0.0.0.0:4222",
        store="/data",
        address="nats:4222",
        viewer_address=f"127.0.0.1:{port}",
        monitoring="127.0.0.1:8222",
        tls=tls,
    )
