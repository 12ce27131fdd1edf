"""Messages of one durable consumer as they arrive: one pull request for many messages stays open on the server.

Not nats-py's `fetch`, which starts two tasks for every message and sends two requests for every batch.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping

import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

MAX_AT_ONCE = 256
OPEN_SECONDS = 30
"""How long the server keeps a request open; it reports when it ends one."""
SPARE_SECONDS = 1
NANOSECONDS = 1_000_000_000

NO_MESSAGES = "404"
NORMAL_ENDS = {NO_MESSAGES, "408"}
"""Statuses of a request that ended without a fault."""


class PullConsumer:
    """Hands out messages in the order of their arrival."""

    def __init__(
        self, client: Client, stream: str, durable: str, *, stops_at_end: bool = False
    ) -> None:
        """`stops_at_end` for reading what the stream has, and not waiting for more."""
        self._client = client
        self._stops_at_end = stops_at_end
        self.is_at_end = False
        """Whether it has got all messages; only if it stops at the end."""
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._reply_to = client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: list[Msg] = []
        self._changed = asyncio.Event()
        self._outstanding = 0
        """How many messages the open request may still bring; 0 when none is open."""
        self._open_until = 0.0
        self._refusal: nats.js.errors.APIError | None = None

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(self._reply_to, cb=self._take)

    async def close(self) -> None:
        """Unsubscribe; what was not acknowledged is redelivered."""
        if self._subscription:
            await self._subscription.unsubscribe()

    async def fetch(self, seconds: float) -> list[Msg]:
        """Everything that has arrived, else the first to arrive within `seconds`; [] when nothing does.

        Raises the broker's refusal, as when the consumer was deleted: bind it again then.
        """
        if not self.is_at_end and (self._outstanding <= 0 or _now() > self._open_until):
            await self._request()
        if not self._arrived and not self.is_at_end:
            await self._wait(seconds)
        if self._refusal and not self._arrived:
            raise self._refusal
        messages, self._arrived = self._arrived, []
        return messages

    def interrupt(self) -> None:
        """Let a waiting `fetch` return: after a reconnect the server no longer has its request."""
        self._changed.set()

    async def _request(self) -> None:
        request: dict[str, object] = {"batch": MAX_AT_ONCE}
        if self._stops_at_end:
            request["no_wait"] = True
        else:
            request["expires"] = OPEN_SECONDS * NANOSECONDS
        self._outstanding = MAX_AT_ONCE
        self._open_until = _now() + OPEN_SECONDS + SPARE_SECONDS
        await self._client.publish(self._subject, json.dumps(request).encode(), self._reply_to)

    async def _wait(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _take(self, message: Msg) -> None:
        if message.reply:
            self._outstanding -= 1
            self._arrived.append(message)
        else:  # a status of the server; publishers' messages always have a reply subject here
            self._note_end(message.headers or {})
        self._changed.set()

    def _note_end(self, status: Mapping[str, str]) -> None:
        """The server has ended the request."""
        self._outstanding = 0
        code = status["Status"]
        self.is_at_end = self._stops_at_end and code == NO_MESSAGES
        if code not in NORMAL_ENDS:
            reason = status.get("Description")
            self._refusal = nats.js.errors.APIError(code=int(code), description=reason)


def _now() -> float:
    return asyncio.get_running_loop().time()
