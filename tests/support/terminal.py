"""Somebody at a terminal: the `quadrille` command with a home of its own, against a fleet."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.running_shop import ROOT, Fleet
from tests.support.settings import environment_of

SECONDS = 60
PROMPT = b": "


class Terminal:
    """What he types, and what he is answered; he stays signed in from one command to the next."""

    def __init__(self, fleet: Fleet, home: Path) -> None:
        self._fleet = fleet
        self.session_file = home / ".config" / "quadrille" / "session.json"
        self._home = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}

    def run(self, *arguments: str, typed: str = "", **environment: str) -> tuple[int, str, str]:
        """Exit code, output, and what was said beside it."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(typed, timeout=SECONDS)
        return process.returncode, out, err

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The command, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "quadrille", *arguments],
            cwd=ROOT,
            env=environment_of(self._fleet._settings) | self._home | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def converse(self, *arguments: str, typed: str) -> tuple[int, str]:
        """The same at a real terminal, which shows what is typed unless it is asked not to."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "quadrille", *arguments],
            cwd=ROOT,
            env=environment_of(self._fleet._settings) | self._home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        for line in typed.splitlines(keepends=True):
            shown += _until(ours, PROMPT)
            os.write(ours, line.encode())
        shown += _until(ours)
        os.close(ours)
        return process.wait(SECONDS), shown.decode()

    def sign_in(self, email: str, password: str) -> None:
        """And stay so."""
        code, _, err = self.run("login", email, "--password-stdin", typed=f"{password}\n")
        assert code == 0, err


def _until(terminal: int, word: bytes | None = None) -> bytes:
    """What is shown up to this word, or to the end."""
    shown = b""
    while word is None or not shown.endswith(word):
        try:
            chunk = os.read(terminal, 1024)
        except OSError:  # how Linux says that the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    return shown
