"""Authorized requests to the shop's HTTP APIs, and their event streams, for the user who is signed in here."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import TypeVar

import click
import httpx
from httpx_sse import EventSource, ServerSentEvent

from quadrille.cli.session import UNAUTHORIZED, Session, SignInRequired, Tokens, bearer
from quadrille.endpoints import (
    TIMEOUT_SECONDS,
    USER_AGENT,
    Endpoints,
    Json,
    ServiceUnreachable,
    ShopError,
    decoded,
    rejection,
    title_of,
)
from shared.settings import ShopSettings

STREAM_HEADERS = USER_AGENT | {"Accept": "text/event-stream", "Cache-Control": "no-store"}
STREAM_TIMEOUT = httpx.Timeout(TIMEOUT_SECONDS, read=60)
"""A stream without even a heartbeat for that long is opened again."""
RECONNECT_SECONDS = 0.5
EXIT_INTERRUPTED = 130
NOT_FOUND = 404

T = TypeVar("T")


class NotFoundError(ShopError):
    """The resource does not exist, not yet, or not for this user."""


class Client:
    """One shop, at the addresses of the settings. Every method raises ShopError."""

    def __init__(self, settings: ShopSettings) -> None:
        self.settings = settings
        self._endpoints = Endpoints(settings)
        self._session = Session(self._endpoints)

    def get(self, service: str, path: str, **query: object) -> Json:
        """Query parameters that are None are left out."""
        return self._request("GET", service, path, params=_query(query))

    def get_each(self, services: Sequence[str], path: str, **query: object) -> dict[str, Json]:
        """By service. Of several, one that cannot be reached is left out with a warning."""
        documents: dict[str, Json] = {}
        for service in services:
            try:
                documents[service] = self.get(service, path, **query)
            except ServiceUnreachable as unreachable:
                if len(services) == 1:
                    raise
                click.echo(f"Warning: {unreachable.format_message()}", err=True)
        return documents

    def post(self, service: str, path: str, body: object) -> Json:
        return self._request("POST", service, path, json=body)

    def put(self, service: str, path: str, body: object) -> Json:
        return self._request("PUT", service, path, json=body)

    def edit(self, service: str, path: str, change: Callable[[Json], Json]) -> Json:
        """Replace a document by what `change` makes of it, unless somebody else has replaced it meanwhile."""
        current = self._respond("GET", service, path)
        tag = current.headers.get("ETag", "")
        # A weak tag names a representation, and no service accepts it as a condition.
        condition = {"If-Match": tag} if tag.startswith('"') else {}
        return decoded(
            self._respond("PUT", service, path, condition, json=change(decoded(current)))
        )

    def delete(self, service: str, path: str) -> Json:
        return self._request("DELETE", service, path)

    async def follow(
        self, service: str, path: str, *, is_awaited: bool = False
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """The server-sent events at `path`, without end: a broken connection is opened again after the last event.

        An awaited resource may not exist yet. Raises ShopError if the service rejects the request, or cannot be
        reached before the first event.
        """
        last_event_id = ""
        is_first, is_connected = True, True
        async with httpx.AsyncClient(trust_env=False, timeout=STREAM_TIMEOUT) as http:
            while True:
                try:
                    response = await self._open(http, service, path, last_event_id)
                    events = EventSource(response).aiter_sse()
                    async with aclosing(response), aclosing(events):
                        async for event in events:
                            is_first, is_connected = False, True
                            last_event_id = event.id or last_event_id
                            yield event
                except NotFoundError:
                    if not is_awaited:
                        raise
                except (httpx.TransportError, ServiceUnreachable) as error:
                    if is_first:
                        raise self._unreachable(service, error) from error
                    if is_connected:
                        click.echo(f"lost the {title_of(service)}; reconnecting …", err=True)
                    is_connected = False
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _open(
        self, http: httpx.AsyncClient, service: str, path: str, last_event_id: str
    ) -> httpx.Response:
        """An open stream. Raises ShopError for a rejection, TransportError if the service fails for the moment."""
        resume = {"Last-Event-ID": last_event_id} if last_event_id else {}

        async def send(tokens: Tokens | None) -> httpx.Response:
            headers = STREAM_HEADERS | resume | bearer(tokens)
            request = http.build_request("GET", self._endpoints.url(service, path), headers=headers)
            response = await http.send(request, stream=True)
            if response.is_error:
                await response.aread()
            return response

        tokens = await asyncio.to_thread(self._session.current)
        response = await send(tokens)
        if response.status_code == UNAUTHORIZED and tokens:
            tokens = await asyncio.to_thread(self._session.refreshed, tokens)
            response = await send(tokens)
        if response.is_server_error and last_event_id:
            raise httpx.RemoteProtocolError(response.reason_phrase)
        if response.is_error:
            raise _error(response, tokens)
        return response

    def _unreachable(
        self, service: str, error: httpx.TransportError | ServiceUnreachable
    ) -> ServiceUnreachable:
        if isinstance(error, ServiceUnreachable):
            return error
        return self._endpoints.unreachable(service, error)

    def _request(self, method: str, service: str, path: str, **content: Json) -> Json:
        return decoded(self._respond(method, service, path, **content))

    def _respond(
        self,
        method: str,
        service: str,
        path: str,
        headers: dict[str, str] | None = None,
        **content: Json,
    ) -> httpx.Response:
        """A success."""

        def send(tokens: Tokens | None) -> httpx.Response:
            sent = bearer(tokens) | (headers or {})
            return self._endpoints.request(method, service, path, sent, **content)

        tokens = self._session.current()
        response = send(tokens)
        if response.status_code == UNAUTHORIZED and tokens:
            tokens = self._session.refreshed(tokens)
            response = send(tokens)
        if response.is_error:
            raise _error(response, tokens)
        return response


def run_async(coroutine: Coroutine[None, None, T]) -> T:
    """Run it to its end; Ctrl-C ends the command without a traceback."""
    try:
        return asyncio.run(coroutine)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _error(response: httpx.Response, tokens: Tokens | None) -> ShopError:
    if response.status_code == UNAUTHORIZED:
        return SignInRequired(is_expired=tokens is not None)
    error = rejection(response)
    return NotFoundError(error.message) if response.status_code == NOT_FOUND else error


def _query(parameters: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}
