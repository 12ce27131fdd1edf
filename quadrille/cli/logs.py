"""`quadrille logs`: what the processes of `quadrille up` have printed."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from os import fstat
from os.path import samestat
from pathlib import Path
from typing import IO, NoReturn

import click
from rich.text import Text

from quadrille.cli.api_client import EXIT_INTERRUPTED
from quadrille.cli.params import json_lines_option
from quadrille.data_directory import LOGS
from quadrille.endpoints import SERVICES, load_settings
from quadrille.launcher import detached, log_files, nats_server
from quadrille.launcher.configuration import MAILBOX
from quadrille.launcher.nats_users import PROVISIONER
from quadrille.output import SERVICE_COLOURS, echo_json, echo_line

NAMES = (*SERVICES, MAILBOX.name, PROVISIONER, nats_server.NAME, detached.NAME)
WIDTH = max(map(len, NAMES))
POLL_SECONDS = 0.2


class Log:
    """One process's log, as it grows and is replaced by a new file."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._path = directory / f"{name}.log"
        self._file: IO[bytes] | None = None
        self._partial = b""

    def exists(self) -> bool:
        return self._path.exists()

    def last(self, number: int) -> Sequence[str]:
        """Of the current file and the one before it."""
        lines = deque[str](maxlen=number)
        if (earlier := log_files.earlier(self._path)).exists():
            lines.extend(_text(line) for line in earlier.read_bytes().splitlines())
        lines.extend(self.new())
        return lines

    def new(self) -> Iterator[str]:
        """Complete lines since the last call."""
        yield from self._rest()
        if self._is_replaced():
            yield from self._rest()  # of the old file, which is complete now
            self._open()
            yield from self._rest()

    def _rest(self) -> Iterator[str]:
        if self._file is None:
            return
        *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
        yield from map(_text, lines)

    def _is_replaced(self) -> bool:
        try:
            current = self._path.stat()
        except FileNotFoundError:  # not yet, or between two files
            return False
        return self._file is None or not samestat(fstat(self._file.fileno()), current)

    def _open(self) -> None:
        self.close()
        self._file = self._path.open("rb")

    def close(self) -> None:
        if self._file:
            self._file.close()


@click.command()
@click.argument("names", metavar="[SERVICE]...", nargs=-1, type=click.Choice(NAMES))
@click.option("--follow", "-f", "follows", is_flag=True, help="Print new lines until Ctrl-C.")
@click.option(
    "--lines",
    "-n",
    "number",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="The number of lines of each log.",
)
@json_lines_option
def logs(names: tuple[str, ...], *, follows: bool, number: int, as_json: bool) -> None:
    """Reads the files in the data directory, while the shop runs or afterwards. Besides the services there are the logs
    of mailbox, provisioner and nats-server, and `up` of a launcher in the background.
    """
    directory = load_settings().data_dir.absolute() / LOGS
    show = partial(_print, is_only=len(names) == 1, as_json=as_json)
    with ExitStack() as opened:
        selected = [opened.enter_context(closing(Log(name, directory))) for name in names or NAMES]
        if not any(log.exists() for log in selected):
            raise click.ClickException(f"{directory} contains no such log: start the shop first")
        for log in selected:
            show(log.name, log.last(number))
        if follows:
            _follow(selected, show)


def _follow(selected: Sequence[Log], show: Callable[[str, Iterator[str]], None]) -> NoReturn:
    try:
        while True:
            for log in selected:
                show(log.name, log.new())
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _print(
    name: str, lines: Iterator[str] | Sequence[str], *, is_only: bool, as_json: bool
) -> None:
    for line in lines:
        if as_json:
            echo_json({"process": name, "line": line})
        elif is_only:
            echo_line(Text(line))
        else:
            colour = SERVICE_COLOURS.get(name, "dim")
            echo_line(Text.assemble((f"{name:<{WIDTH}} | ", colour), line))
    sys.stdout.flush()


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
