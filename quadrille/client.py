"""The shop's HTTP APIs as a command line wants them: an answer, or one sentence that says what to do."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import click
import httpx
import msgspec

from shared.config import Settings, SettingsError, load

TIMEOUT_SECONDS = 10
SILENCE_SECONDS = 60
"""A stream that says nothing for so long, not even that it is alive, is asked for again."""
STREAM_TIMEOUT = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
PAUSE_SECONDS = 0.5
INTERRUPTED = 130
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}

T = TypeVar("T")


class ShopError(click.ClickException):
    """The shop can not be asked, or refuses; exit code 2."""

    exit_code = 2


class Message(NamedTuple):
    """One server-sent event; the first of a stream has no data, and says where the stream begins."""

    id: str
    event: str
    data: str


class Client:
    """One shop, at the addresses that the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._headers = {"User-Agent": "quadrille"}

    def get(self, service: str, path: str, **query: object) -> Any:  # noqa: ANN401 - any JSON
        """The document at `path`. Raises ShopError."""
        return self._ask("GET", service, path, params=_given(query))

    def post(self, service: str, path: str, body: object) -> Any:  # noqa: ANN401 - any JSON
        """What the service answers to `body`. Raises ShopError."""
        return self._ask("POST", service, path, json=body)

    async def follow(self, service: str, path: str) -> AsyncGenerator[Message, None]:
        """The server-sent events of `path`, for ever: where the stream breaks off it is taken up again.

        Raises ShopError when the service refuses, or can not be reached at the first attempt.
        """
        last_event_id = ""
        is_first, is_lost = True, False
        async with httpx.AsyncClient(trust_env=False, timeout=STREAM_TIMEOUT) as http:
            while True:
                try:
                    async with self._stream(http, service, path, last_event_id) as response:
                        is_first, is_lost = False, False
                        async for message in _messages(response.aiter_bytes()):
                            last_event_id = message.id or last_event_id
                            yield message
                except httpx.TransportError as error:
                    if is_first:
                        raise self._unreachable(service, error) from error
                    if not is_lost:
                        click.echo(f"the {_named(service)} is gone; trying again …", err=True)
                    is_lost = True
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _stream(
        self, http: httpx.AsyncClient, service: str, path: str, last_event_id: str
    ) -> AsyncGenerator[httpx.Response, None]:
        """An open stream. Raises ShopError for a refusal, TransportError for a service not at its best."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        async with http.stream(
            "GET", self._url(service, path), headers=self._headers | headers
        ) as response:
            if response.is_error:
                await response.aread()
            if response.is_server_error and last_event_id:
                raise httpx.RemoteProtocolError(response.reason_phrase)
            if response.is_error:
                raise _refusal(response)
            yield response

    def _ask(self, method: str, service: str, path: str, **content: Any) -> Any:  # noqa: ANN401
        try:
            with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
                response = http.request(
                    method, self._url(service, path), headers=self._headers, **content
                )
        except httpx.TransportError as error:
            raise self._unreachable(service, error) from error
        if response.is_error:
            raise _refusal(response)
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            message = f"{response.url} does not answer JSON: is that a service of the shop?"
            raise ShopError(message) from error

    def _url(self, service: str, path: str) -> httpx.URL:
        host = EVERY_ADDRESS.get(self._settings.host, self._settings.host)
        port = getattr(self._settings, f"{service}_port")
        return httpx.URL(scheme="http", host=host, port=port, path=path)

    def _unreachable(self, service: str, error: httpx.TransportError) -> ShopError:
        where = self._url(service, "/")
        why = "does not answer" if isinstance(error, httpx.TimeoutException) else "is not there"
        return ShopError(f"the {_named(service)} {why} at {where}: is the shop up? make up")


def settings() -> Settings:
    """The settings of the environment. Raises ShopError for one that is unknown or impossible."""
    try:
        return load()
    except SettingsError as error:
        raise ShopError(str(error)) from error


def run(following: Coroutine[None, None, T]) -> T:
    """Follow something until it ends; Ctrl-C is no mishap."""
    try:
        return asyncio.run(following)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _named(service: str) -> str:
    return "read API" if service == "read" else f"{service} service"


def _given(query: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _refusal(response: httpx.Response) -> ShopError:
    """What a problem document says."""
    try:
        problem = msgspec.json.decode(response.content)
        return ShopError(problem["detail"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message = f"{response.url} answers {response.status_code}: is that a service of the shop?"
        return ShopError(message)


async def _messages(chunks: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """The messages in a stream of bytes; comments are none."""
    fields: dict[str, str] = {}
    async for line in _lines(chunks):
        name, _, value = line.partition(":")
        if name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        elif not line:
            if fields:
                yield Message(fields.get("id", ""), fields.get("event", ""), fields.get("data", ""))
            fields = {}


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines as server-sent events have them; JSON may hold what others take for a line's end."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()
