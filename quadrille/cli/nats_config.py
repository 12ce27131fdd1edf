"""`quadrille nats-config`: the configuration and the users of a NATS server that `quadrille up` does not start."""

from pathlib import Path

import click

from quadrille.cli.params import json_option
from quadrille.endpoints import load_settings
from quadrille.launcher import compose_secrets
from quadrille.launcher.nats_config import Server, Tls, write
from quadrille.launcher.nats_users import VIEWER
from quadrille.output import echo_json
from shared.chassis.secret_file import OWNER_ONLY
from shared.settings import ShopSettings

READABLE_FOR_CONTAINERS = 0o444
"""A container's user does not own the files; the directory's mode keeps other users out."""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--address", default="127.0.0.1:4222", show_default=True, help="Where clients connect."
)
@click.option("--listen", help="Where the server listens.  [default: the address]")
@click.option("--store", help="Where it stores the stream.  [default: `store` in the directory]")
@click.option("--tls-cert", help="Its certificate, a file; URLs then start with tls://.")
@click.option("--tls-key", help="The certificate's key, a file.")
@click.option(
    "--for-compose",
    is_flag=True,
    help="All of this as compose.yaml needs it, and its other secrets.",
)
@json_option
def nats_config(
    *,
    directory: Path,
    address: str,
    listen: str | None,
    store: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    for_compose: bool,
    as_json: bool,
) -> None:
    """Writes nats.conf for `nats-server --config` into DIRECTORY, and for each user a file with the value of
    QUADRILLE_NATS_URL: order.url, inventory.url and so on. Existing passwords are kept; delete a file for a new one.
    """
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key require each other")
    tls = Tls(tls_cert, tls_key) if tls_cert and tls_key else None
    settings = load_settings() if for_compose else None
    if settings:
        server, mode = _for_compose(settings, tls), READABLE_FOR_CONTAINERS
    else:
        directory_of_stream = store or str((directory / "store").absolute())
        server = Server(listen or address, directory_of_stream, address, tls=tls)
        mode = OWNER_ONLY
    urls = write(directory, server, mode)
    others = compose_secrets.write(directory, settings, mode) if settings else {}
    if as_json:
        written = {"users": list(urls), "secrets": list(others), "viewerUrl": urls[VIEWER]}
        echo_json({"directory": str(directory), **written})
        return
    click.echo(f"{directory} contains nats.conf and a URL for each of {', '.join(urls)}")
    if settings:
        click.echo(f"It also contains {', '.join(others)}")
        click.echo(f"The admin is {settings.admin_email}, password {others['admin_password']}")
    click.echo(f"export NATS_URL={urls[VIEWER]}")


def _for_compose(settings: ShopSettings, tls: Tls | None) -> Server:
    return Server(
        listen="0.0.0.0:4222",
        store="/data",
        address="nats:4222",
        viewer_address=f"127.0.0.1:{settings.nats_port}",
        monitoring="127.0.0.1:8222",
        tls=tls,
    )
