"""The shop's HTTP APIs as a command line wants them, asked by whoever is signed in here."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import click
import httpx

from quadrille.cli.endpoints import (
    AGENT,
    TIMEOUT_SECONDS,
    Shop,
    ShopError,
    Unreachable,
    document,
    named,
    refusal,
)
from quadrille.cli.session import UNAUTHORIZED, Session, SignInRequired, bearer
from quadrille.cli.session_file import SignIn
from shared.settings import Settings

SILENCE_SECONDS = 60
"""A stream that says nothing for so long, not even that it is alive, is asked for again."""
STREAM_TIMEOUT = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
PAUSE_SECONDS = 0.5
INTERRUPTED = 130
NOT_FOUND = 404

T = TypeVar("T")


class Message(NamedTuple):
    """One server-sent event; the first of a stream has no data, and says where the stream begins."""

    id: str
    event: str
    data: str


class NotFoundError(ShopError):
    """There is no such thing, or not for us to see, or not yet."""


class Client:
    """One shop, at the addresses that the settings say. Everything raises ShopError."""

    def __init__(self, settings: Settings) -> None:
        self._shop = Shop(settings)
        self._session = Session(self._shop)

    def get(self, service: str, path: str, **query: object) -> Any:  # noqa: ANN401 - any JSON
        """The document at `path`."""
        return self._ask("GET", service, path, params=_query(query))

    def post(self, service: str, path: str, body: object) -> Any:  # noqa: ANN401 - any JSON
        """What the service answers to `body`."""
        return self._ask("POST", service, path, json=body)

    def put(self, service: str, path: str, body: object) -> Any:  # noqa: ANN401 - any JSON
        """What the service answers to `body`."""
        return self._ask("PUT", service, path, json=body)

    def delete(self, service: str, path: str) -> Any:  # noqa: ANN401 - any JSON
        """What the service answers once it is gone."""
        return self._ask("DELETE", service, path)

    async def follow(
        self, service: str, path: str, *, is_awaited: bool = False
    ) -> AsyncGenerator[Message, None]:
        """The server-sent events of `path`, for ever: where the stream breaks off it is taken up again.

        What is awaited may not be there yet. Raises ShopError when the service refuses, or can not be reached at
        the first attempt.
        """
        last_event_id = ""
        is_first, is_lost = True, False
        async with httpx.AsyncClient(trust_env=False, timeout=STREAM_TIMEOUT) as http:
            while True:
                try:
                    response = await self._open(http, service, path, last_event_id)
                    is_first, is_lost = False, False
                    async with aclosing(response):
                        async for message in _messages(response.aiter_bytes()):
                            last_event_id = message.id or last_event_id
                            yield message
                except NotFoundError:
                    if not is_awaited:
                        raise
                except (httpx.TransportError, Unreachable) as error:
                    if is_first:
                        raise self._unreachable(service, error) from error
                    if not is_lost:
                        click.echo(f"the {named(service)} is gone; trying again …", err=True)
                    is_lost = True
                await asyncio.sleep(PAUSE_SECONDS)

    async def _open(
        self, http: httpx.AsyncClient, service: str, path: str, last_event_id: str
    ) -> httpx.Response:
        """An open stream. Raises ShopError for a refusal, TransportError for a service not at its best."""
        resume = {"Last-Event-ID": last_event_id} if last_event_id else {}

        async def ask(sign_in: SignIn | None) -> httpx.Response:
            headers = AGENT | resume | bearer(sign_in)
            request = http.build_request("GET", self._shop.url(service, path), headers=headers)
            response = await http.send(request, stream=True)
            if response.is_error:
                await response.aread()
            return response

        sign_in = await asyncio.to_thread(self._session.known)
        response = await ask(sign_in)
        if response.status_code == UNAUTHORIZED and sign_in:
            sign_in = await asyncio.to_thread(self._session.renewed, sign_in)
            response = await ask(sign_in)
        if response.is_server_error and last_event_id:
            raise httpx.RemoteProtocolError(response.reason_phrase)
        if response.is_error:
            raise _refusal(response, sign_in)
        return response

    def _unreachable(self, service: str, error: httpx.TransportError | Unreachable) -> Unreachable:
        return error if isinstance(error, Unreachable) else self._shop.unreachable(service, error)

    def _ask(self, method: str, service: str, path: str, **content: Any) -> Any:  # noqa: ANN401
        sign_in = self._session.known()
        response = self._shop.send(method, service, path, bearer(sign_in), **content)
        if response.status_code == UNAUTHORIZED and sign_in:
            sign_in = self._session.renewed(sign_in)
            response = self._shop.send(method, service, path, bearer(sign_in), **content)
        if response.is_error:
            raise _refusal(response, sign_in)
        return document(response)


def run_async(following: Coroutine[None, None, T]) -> T:
    """Follow something until it ends; Ctrl-C is no mishap."""
    try:
        return asyncio.run(following)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _refusal(response: httpx.Response, sign_in: SignIn | None) -> ShopError:
    if response.status_code == UNAUTHORIZED:
        return SignInRequired(again=sign_in is not None)
    refused = refusal(response)
    return NotFoundError(refused.message) if response.status_code == NOT_FOUND else refused


def _query(query: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


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
