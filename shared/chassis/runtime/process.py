"""A service as one process: settings, socket, uvicorn, signals, and the exit status."""

import argparse
import asyncio
import contextlib
import faulthandler
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import NoReturn, TypeVar

import uvicorn
import uvloop
from litestar import Litestar

from shared.chassis import failpoints
from shared.chassis.errors import FAILED, REFUSED
from shared.chassis.http.policy import HttpPolicy
from shared.chassis.http.protocol import bounded_http
from shared.chassis.http.stopping import answering_cancelled
from shared.chassis.runtime import logs
from shared.chassis.settings import PREFIX, ChassisSettings, SettingsError, listed

Settings = TypeVar("Settings", bound=ChassisSettings)

REQUESTS_STOP_SECONDS = 3
"""For requests under way when the process is asked to stop."""
KEEP_ALIVE_SECONDS = 75
"""Longer than clients and load balancers keep an idle connection. They must be the ones to close it: a request that is
sent at the moment we close gets no answer."""


def run(
    name: str,
    load: Callable[[], Settings],
    port_of: Callable[[Settings], int],
    build: Callable[[Settings], Litestar],
    host_of: Callable[[Settings], str] = attrgetter("host"),
) -> NoReturn:
    """Run a service until SIGTERM or SIGINT; exit 0 after a clean end, otherwise with one sentence.

    The exit code is REFUSED for settings that it refuses, FAILED for a port that is in use.
    """
    _take_no_arguments(name)
    faulthandler.enable()  # prints a traceback for a crash in C
    try:
        settings = load()
        _arm_failpoint(settings.failpoint)
        _allow_open_files()
        os.umask(0o077)  # other users of this machine must not read the databases
        _make_data_directory(settings.data_dir)
        listening = _listen(host_of(settings), port_of(settings))
    except SettingsError as error:
        _exit(f"{name}: {error}", REFUSED)
    except OSError as error:
        _exit(f"{name}: {error}", FAILED)
    logs.configure(name, settings)
    try:
        uvloop.run(_serve(build(settings), listening, settings))
    except SettingsError as error:
        _exit(f"{name}: {error}", REFUSED)
    _exit_at_once()


def _exit(sentence: str, code: int) -> NoReturn:
    print(sentence, file=sys.stderr)  # noqa: T201 - the operator reads it
    sys.exit(code)


def _exit_at_once() -> NoReturn:
    """Everything is closed; taking the interpreter apart would cost seconds on a busy machine."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _arm_failpoint(failpoint: str | None) -> None:
    try:
        failpoints.arm(failpoint)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}FAILPOINT: {error}") from error


def _make_data_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is not a directory" if directory.exists() else f"cannot be made: {error.strerror}"
        raise SettingsError(f"{PREFIX}DATA_DIR: {directory} {reason}") from error


def _allow_open_files() -> None:
    """As many as the system permits: the usual 1,024 are fewer than the connections that an overloaded process has."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS permits fewer than it names
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _take_no_arguments(name: str) -> None:
    argparse.ArgumentParser(
        prog=name,
        description=sys.modules["__main__"].__doc__,
        epilog="Each setting is an environment variable, QUADRILLE_…: README.md lists them.",
    ).parse_args()


class _Server(uvicorn.Server):
    """Uvicorn, but a process that was asked to stop, and did, exits 0 instead of dying by the signal."""

    def __init__(self, config: uvicorn.Config, on_stopping: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_stopping = on_stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop)
        yield

    def _request_stop(self) -> None:
        self.should_exit = True
        if self._on_stopping:
            self._on_stopping()


async def _serve(app: Litestar, listening: socket.socket, settings: ChassisSettings) -> None:
    proxies = listed(settings.trusted_proxies)
    policy = HttpPolicy.of(settings, listening.getsockname()[0])
    server = _Server(
        uvicorn.Config(
            policy.protect(answering_cancelled(app)),
            lifespan="on",
            http=bounded_http(settings, listening),
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,  # not from uvicorn's own environment variable
            log_level="error",  # its warnings are about requests: clients could fill the log with them
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=REQUESTS_STOP_SECONDS,
        ),
        app.state.on_stopping,
    )
    await server.serve(sockets=[listening])
    if not server.started:
        sys.exit(FAILED)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError naming the port that is taken, and SettingsError."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"{PREFIX}HOST: {host!r} is no address ({error.strerror})") from error
    family, kind, protocol, _, address = addresses[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        message = f"port {port} on {host} cannot be used: {error.strerror}"
        raise OSError(message) from error
    listening.set_inheritable(True)
    return listening
