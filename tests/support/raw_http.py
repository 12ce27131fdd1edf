"""Processes that serve HTTP, and sockets to them for requests that no HTTP client would send."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from shared.settings import ShopSettings
from tests.support.eventually import eventually
from tests.support.settings import environment_of

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60
STOP_SECONDS = 30
READ_SECONDS = 20
HOST = b"Host: localhost\r\n"


class Server(NamedTuple):
    """A process that listens on this port of the loopback."""

    port: int
    pid: int

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(READ_SECONDS)
        return connection

    def ask(self, method: str = "GET", path: str = "/", **named: object) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=READ_SECONDS) as client:
            return client.request(method, f"http://127.0.0.1:{self.port}{path}", **named)  # type: ignore[arg-type]

    def answer_to(self, *parts: bytes) -> bytes:
        """Everything received until the server closes."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_to_end(connection)

    def send_until_refused(self, parts: Iterable[bytes]) -> int:
        """The number of bytes sent before the server closed the connection."""
        sent = 0
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    sent += len(part)
            except ConnectionError:
                return sent
        return sent

    def memory_bytes(self) -> int:
        """The peak of its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):  # it closed while there was more to read
        while part := connection.recv(65536):
            received += part
    return received


def start(module: str, settings: ShopSettings, **environment: str) -> "subprocess.Popen[bytes]":
    """`python -m module`, with these variables."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | environment_of(settings) | environment,  # noqa: TID251 - a child's
    )


@contextmanager
def serving(module: str, port: int, settings: ShopSettings, **environment: str) -> Iterator[Server]:
    process = start(module, settings, **environment)
    try:
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


async def until_listening(server: Server) -> None:
    def listens() -> bool:
        try:
            server.connect().close()
        except ConnectionError:
            return False
        return True

    await eventually(listens, READY_SECONDS)
