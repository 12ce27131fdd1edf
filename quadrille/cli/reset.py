"""`quadrille reset`: deletes the data of the shop on this machine."""

import shutil
from pathlib import Path

import click
from filelock import FileLock, Timeout

from quadrille.cli.params import json_option
from quadrille.data_directory import (
    LAUNCHER_LOCK,
    are_services_running,
    files_of_the_shop,
    is_locked,
)
from quadrille.endpoints import load_settings
from quadrille.output import echo, echo_json


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def reset(*, yes: bool, as_json: bool) -> None:
    """Deletes all orders, accounts, products, events, mails and logs in the data directory, after a question; the next
    start is the first one again. Stop the shop first: quadrille down. Backups and other files are left alone.
    """
    data_dir = load_settings().data_dir.absolute()
    files = list(files_of_the_shop(data_dir))
    _refuse_if_used(data_dir)
    if files and not yes:
        question = f"Delete all orders, accounts, mails and logs in {data_dir}?"
        click.confirm(question, abort=True, err=as_json)
    if files:
        _delete(data_dir)
    left = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else []
    if as_json:
        names = [path.name for path in files]
        echo_json({"dataDir": str(data_dir), "deleted": names, "left": left})
    elif files:
        echo(f"Deleted: {', '.join(path.name for path in files)}")
    else:
        echo(f"{data_dir} contains no data of a shop")
    if left and not as_json:
        echo(f"Left in {data_dir}: {', '.join(left)}")


def _delete(data_dir: Path) -> None:
    """Raises ClickException."""
    try:
        with FileLock(data_dir / LAUNCHER_LOCK, blocking=False):  # no `up` starts meanwhile
            for path in files_of_the_shop(data_dir):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    except Timeout as error:
        raise _in_use(data_dir) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def _refuse_if_used(data_dir: Path) -> None:
    if is_locked(data_dir / LAUNCHER_LOCK) or are_services_running(data_dir):
        raise _in_use(data_dir)


def _in_use(data_dir: Path) -> click.ClickException:
    return click.ClickException(f"processes use {data_dir}: stop them first (quadrille down)")
