"""What a durable consumer's server sends, as it comes: one request for many messages is kept open.

nats-py's own `fetch` starts two tasks for every message and asks twice for every batch.
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
"""How long the server keeps a request; it says when it lets go of one."""
SPARE_SECONDS = 1
NANOSECONDS = 1_000_000_000

NO_MORE = {"404", "408"}
"""The request is over, and nothing is wrong."""


class PullConsumer:
    """Messages of one durable, handed out in the order of their arrival."""

    def __init__(self, client: Client, stream: str, durable: str) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._reply_to = client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: list[Msg] = []
        self._news = asyncio.Event()
        self._wanted = 0
        """How many messages the open request may still bring; 0 when none is open."""
        self._open_until = 0.0
        self._refusal: nats.js.errors.APIError | None = None

    async def open(self) -> None:
        """Be ready to fetch."""
        self._subscription = await self._client.subscribe(self._reply_to, cb=self._take)

    async def close(self) -> None:
        """Hear no more; what was not acknowledged comes again."""
        if self._subscription:
            await self._subscription.unsubscribe()

    async def fetch(self, seconds: float) -> list[Msg]:
        """All that has arrived, or the first to arrive within so many seconds; [] when nothing does.

        Raises what the broker refuses with, as when the consumer is gone: it is to be bound anew then.
        """
        if self._wanted <= 0 or _now() > self._open_until:
            await self._ask()
        if not self._arrived:
            await self._wait(seconds)
        if self._refusal and not self._arrived:
            raise self._refusal
        messages, self._arrived = self._arrived, []
        return messages

    def interrupt(self) -> None:
        """Let a waiting `fetch` return: the server has forgotten its request."""
        self._news.set()

    async def _ask(self) -> None:
        request = {"batch": MAX_AT_ONCE, "expires": OPEN_SECONDS * NANOSECONDS}
        self._wanted = MAX_AT_ONCE
        self._open_until = _now() + OPEN_SECONDS + SPARE_SECONDS
        await self._client.publish(self._subject, json.dumps(request).encode(), self._reply_to)

    async def _wait(self, seconds: float) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _take(self, message: Msg) -> None:
        if message.reply:
            self._wanted -= 1
            self._arrived.append(message)
        else:
            self._note_end(message.headers or {})
        self._news.set()

    def _note_end(self, status: Mapping[str, str]) -> None:
        """The server has let go of the request."""
        self._wanted = 0
        code = status["Status"]
        if code not in NO_MORE:
            reason = status.get("Description")
            self._refusal = nats.js.errors.APIError(code=int(code), description=reason)


def _now() -> float:
    return asyncio.get_running_loop().time()
