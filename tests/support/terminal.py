"""The `quadrille` command as a user runs it, with a home directory of its own, against a running shop."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from click.testing import CliRunner

from quadrille.cli.main import main
from tests.support.addresses import ADDRESS_BODY
from tests.support.running_shop import RunningShop
from tests.support.settings import environment_of
from tests.support.shop_processes import ROOT

SECONDS = 60
PROMPT = b": "


class Terminal:
    """One user, who stays signed in from one command to the next."""

    def __init__(self, shop: RunningShop, home: Path) -> None:
        self._shop = shop
        self.session_file = home / ".config" / "quadrille" / "session.json"
        self._home = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}

    def run(
        self, *arguments: str, typed: str = "", adds_address: bool = True, **environment: str
    ) -> tuple[int, str, str]:
        """Exit code, output and error output.

        In this process, because starting Python takes longer than any command; in a thread, because the caller may
        have a running event loop.
        """
        env = environment_of(self._shop.settings) | self._home | environment
        arguments = _with_address(arguments) if adds_address else arguments
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(
                CliRunner().invoke, main, arguments, typed, env, prog_name="quadrille"
            ).result()
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A process, for commands that are interrupted, killed, or run at the same time."""
        return subprocess.Popen(
            [sys.executable, "-m", "quadrille", *_with_address(arguments)],
            cwd=ROOT,
            env=environment_of(self._shop.settings) | self._home | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def converse(self, *arguments: str, typed: str) -> tuple[int, str]:
        """Exit code and screen of a command at a terminal, which echoes what is typed unless it is asked not to."""
        keyboard, terminal = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "quadrille", *arguments],
            cwd=ROOT,
            env=environment_of(self._shop.settings) | self._home,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        screen = b""
        for line in typed.splitlines(keepends=True):
            screen += _read(keyboard, PROMPT)
            os.write(keyboard, line.encode())
        screen += _read(keyboard)
        os.close(keyboard)
        return process.wait(SECONDS), screen.decode()

    def sign_in(self, email: str, password: str) -> None:
        code, _, err = self.run("login", email, "--password-stdin", typed=f"{password}\n")
        assert code == 0, err


def _with_address(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """With an address to ship to, which an order needs, if none is given."""
    is_order = arguments[:1] == ("order",) and arguments[1:2] != ("show",)
    if "--address" in arguments or not (is_order or arguments[:2] == ("cart", "checkout")):
        return arguments
    return (*arguments, "--address", json.dumps(ADDRESS_BODY))


def _read(keyboard: int, end: bytes | None = None) -> bytes:
    """The screen up to these bytes, or to the end."""
    screen = b""
    while end is None or not screen.endswith(end):
        try:
            chunk = os.read(keyboard, 1024)
        except OSError:  # on Linux: the other side is closed
            break
        if not chunk:
            break
        screen += chunk
    return screen
