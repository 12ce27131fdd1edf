"""One connection to NATS per process: it reconnects without limit, and explains what is wrong in one sentence.

The broker is a transport: what it loses is still in the services' event logs, and nothing here relies on its storage.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

from shared.chassis.jetstream import errors
from shared.chassis.jetstream.errors import (
    BROKER_ERRORS,
    ConnectionLostError,
    ConsumerInUse,
    NotAnswered,
    NotPermitted,
    NotProvisioned,
)
from shared.chassis.settings import ChassisSettings

T = TypeVar("T")

API_TIMEOUT_SECONDS = 5
CLOSE_SECONDS = 1
ACK_WAIT_SECONDS = 30
OLDEST_WITH_RESET = (2, 14)
"""The first version of nats-server that can reset a consumer."""

log = structlog.get_logger()


class JetStreamConnection:
    """The connection of this process."""

    def __init__(self, name: str, settings: ChassisSettings) -> None:
        self._name = name
        self._settings = settings
        self.client = _Client()
        self._is_closing = False
        self._was_closed = False
        self._calls: dict[str, asyncio.Future[None]] = {}
        """Calls that wait for an answer, by the API subject in lower case, as the broker's refusal names it."""
        self._interrupt_callbacks: list[Callable[[], None]] = []
        self._connect_callbacks: list[Callable[[], Awaitable[None]]] = []
        self._recent_errors = errors.RecentSentences()
        self._connection_error = "the broker"
        self.refusal: str | None = None
        """What the broker last did not permit on this connection, as a sentence."""
        self.may_provision = True
        """False from the moment that the broker refuses this user to create or change the stream."""
        self.reconnected = asyncio.Event()
        """Set at every new connection: deliveries that were on the way may be lost."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up."""
        return self.client.is_connected

    @property
    def server_id(self) -> str:
        """Of the server's process: a restarted server has another one, and may have lost events."""
        return self.client.server_id

    async def connect(self) -> None:
        """Wait for the broker as long as it takes; afterwards reconnect without limit."""
        await self.client.connect(
            servers=[self._settings.nats_url],
            name=self._name,
            tls=_tls(self._settings),
            inbox_prefix=inbox_prefix(self._name),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a fraction works
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=0,  # a publish while disconnected fails at once instead of being buffered
            error_cb=self._note_error,
            reconnected_cb=self._note_reconnect,
            closed_cb=self._note_close,
        )
        self._warn_of_old_version()
        for callback in self._connect_callbacks:
            await callback()

    async def close(self) -> None:
        """Close the connection. Unacknowledged events stay in the log."""
        self._is_closing = True
        with contextlib.suppress(*BROKER_ERRORS):
            await self.client.close()

    def jetstream(self) -> JetStreamContext:
        """The JetStream API."""
        return self.client.jetstream(timeout=API_TIMEOUT_SECONDS)

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back after the first connection, to subscribe: nats-py repeats subscriptions when it reconnects."""
        self._connect_callbacks.append(callback)

    def on_interrupt(self, callback: Callable[[], None]) -> None:
        """Call back when the connection is replaced or closed: requests sent over it get no answer."""
        self._interrupt_callbacks.append(callback)

    def raise_if_lost(self) -> None:
        """Raises ConnectionLostError when nats-py has closed the connection permanently and this process did not ask for it."""
        if (self._was_closed or self.client.is_closed) and not self._is_closing:
            error = self.client.last_error
            reason = errors.text_of(error) if error else "no reason given"
            raise ConnectionLostError(f"the broker closed the connection permanently: {reason}")

    def explain(self, error: Exception | None = None) -> str:
        """What is wrong with the connection, or else with the call that raised `error`, in one sentence."""
        if not self.is_connected:
            return self._connection_error
        if isinstance(error, (NotPermitted, NotProvisioned, ConsumerInUse, NotAnswered)):
            return str(error)
        if isinstance(error, TimeoutError) and self.refusal:
            return self.refusal
        if error is None or isinstance(error, TimeoutError):
            return f"the broker at {errors.address_of(self._settings.nats_url)} does not answer"
        return f"the broker: {errors.text_of(error)}"

    async def call(self, api_subject: str, call: Awaitable[T]) -> T:
        """The result of a JetStream API call. Raises NotPermitted when the broker refuses it.

        A refused request is never answered: the refusal arrives separately, as an error of the connection.
        """
        subject = f"$JS.API.{api_subject}".lower()
        refusal = self._calls[subject] = asyncio.get_running_loop().create_future()
        answer = asyncio.ensure_future(call)
        try:
            await asyncio.wait({answer, refusal}, return_when=asyncio.FIRST_COMPLETED)
            if refusal.done():
                refusal.result()
            return await answer
        finally:
            answer.cancel()
            refusal.cancel()
            self._calls.pop(subject, None)

    def can_reset_consumers(self) -> bool:
        """Whether the server is new enough."""
        version = self.client.connected_server_version
        try:
            return (version.major, version.minor) >= OLDEST_WITH_RESET
        except ValueError:  # a server that was built without a version number
            return True

    def _warn_of_old_version(self) -> None:
        if not self.can_reset_consumers():
            version = self.client.connected_server_version
            log.warning(
                "broker.too_old",
                version=f"{version.major}.{version.minor}.{version.patch}",
                oldest=".".join(map(str, OLDEST_WITH_RESET)),
                effect=f"after a crash the last events are redelivered only after {ACK_WAIT_SECONDS} s",
            )

    async def _note_error(self, error: Exception) -> None:
        reason = errors.described(error, self._settings.nats_url)
        if subject := errors.refused_subject(error):
            self.refusal = reason
            refused_call = self._calls.get(subject)
            if refused_call and not refused_call.done():
                refused_call.set_exception(NotPermitted(reason))
        else:
            self._connection_error = reason
        if self._recent_errors.is_new(reason):
            log.warning("broker.error", reason=reason)

    async def _note_close(self) -> None:
        self._was_closed = True
        self._interrupt()

    async def _note_reconnect(self) -> None:
        log.info("broker.reconnected")
        self._warn_of_old_version()
        self.may_provision = True
        self.refusal = None
        self.reconnected.set()
        self._interrupt()

    def _interrupt(self) -> None:
        for callback in self._interrupt_callbacks:
            callback()


class _Client(Client):
    """nats-py, but it sends no password in the clear where the URL asks for TLS."""

    @property
    def server_id(self) -> str:
        return str(self._server_info.get("server_id", ""))

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise nats.errors.Error("it offers no TLS")
        return super()._connect_command()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Between two attempts to connect, without callbacks, not without limit.

        From Python 3.13 on, a connection whose TLS handshake failed is never reported as closed.
        """
        if do_cbs:
            await super()._close(status, do_cbs)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await super()._close(status, do_cbs)


def inbox_prefix(name: str) -> str:
    """The subject prefix of the broker's answers to this process, which no other user may subscribe to."""
    return f"_INBOX_{name}"


def _tls(settings: ChassisSettings) -> ssl.SSLContext | None:
    """Trust in the broker's CA; None where the system's certificates suffice."""
    return ssl.create_default_context(cafile=settings.nats_ca) if settings.nats_ca else None
