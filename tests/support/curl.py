"""A shell in which `curl` works, also where there is none: a script then sends the requests of the lines under test."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

import httpx


def shell_environment(directory: Path) -> dict[str, str]:
    """The script, if there has to be one, is written to the directory."""
    environment = dict(os.environ)  # noqa: TID251 - a child's
    if not shutil.which("curl"):
        directory.mkdir(exist_ok=True)
        script = directory / "curl"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__])} "$@"\n')
        script.chmod(0o700)
        environment["PATH"] = f"{directory}{os.pathsep}{environment['PATH']}"
    return environment


def _arguments() -> argparse.Namespace:
    """Exits for an option of curl that no test needs."""
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("url")
    for flag in ("-s", "-S", "-f"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-w", dest="end", default="")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    return parser.parse_args()


def _main() -> None:
    given = _arguments()
    url = given.url if "://" in given.url else f"http://{given.url}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if given.body else {}
    headers |= {name: value.strip() for name, _, value in (h.partition(":") for h in given.headers)}
    method = given.method or ("POST" if given.body else "GET")
    with httpx.Client(trust_env=False, timeout=30) as http:
        response = http.request(method, url, headers=headers, content=given.body)
    sys.stdout.buffer.write(response.content + given.end.replace("\\n", "\n").encode())


if __name__ == "__main__":
    _main()
