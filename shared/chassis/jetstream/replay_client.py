"""Asks the services that own event logs for events that the stream does not bring."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog
from nats.aio.msg import Msg

from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.jetstream.errors import NotAnswered
from shared.chassis.jetstream.replay_protocol import (
    MAX_EVENTS,
    PageHeaders,
    PageRequest,
    decode_batch,
    encode_request,
)
from shared.chassis.messages import clock
from shared.chassis.messages.catalog import Catalog, DecodeError
from shared.chassis.messages.cloudevents import claimed_subject, decode_of
from shared.chassis.messages.received import Message, receive
from shared.chassis.messages.subjects import everything_of, replay_events, replay_request

ANSWER_SECONDS = 5
REPEAT_SECONDS = 2
"""An owner that has just started may have missed the request."""

log = structlog.get_logger()


class Page(NamedTuple):
    """Part of another service's event log, checked as messages of the stream are."""

    messages: list[Message]
    through: int
    """The page contains every requested event up to this position."""
    end: int
    """The last position of the log."""


class _Question(NamedTuple):
    owner: str
    answer: asyncio.Future[Page]


class ReplayClient:
    """Keeps nothing between requests: after a failure the caller asks again from where its database is."""

    def __init__(self, name: str, broker: JetStreamConnection, catalog: Catalog) -> None:
        self._name = name
        self._broker = broker
        self._catalog = catalog
        self._questions: dict[str, _Question] = {}
        """By request id."""
        broker.on_connect(self._subscribe)

    async def end_of(self, owner: str) -> int:
        """The last position of the owner's log. Raises NotAnswered and other BROKER_ERRORS."""
        return (await self._ask(owner, PageRequest(request_id=clock.new_id(), most=0))).end

    async def last_before(self, owner: str, moment: datetime) -> int:
        """The position of the owner's last event before this moment. Raises NotAnswered and other BROKER_ERRORS."""
        request = PageRequest(request_id=clock.new_id(), since=moment, most=0)
        return (await self._ask(owner, request)).through

    async def replay(
        self,
        owner: str,
        deliver: Callable[[Page], Awaitable[int]],
        *,
        after: int,
        until: int,
        types: Sequence[str] = (),
    ) -> None:
        """Hand the owner's events between these positions to `deliver`, page by page, and some beyond.

        `deliver` returns the position up to which it needs nothing more: that of the page, or a later one. If it is
        an earlier one, the replay ends. Raises NotAnswered, other BROKER_ERRORS, and what `deliver` raises.
        """
        page = await self._page(owner, after, types)
        while page.through > after:
            following = asyncio.ensure_future(self._page(owner, page.through, types))
            following.add_done_callback(_retrieve)
            try:
                reached = await deliver(page)
                if reached < page.through or reached >= min(until, page.end):
                    return
                is_next = reached == page.through
                after = reached
                page = await (following if is_next else self._page(owner, reached, types))
            finally:
                following.cancel()

    async def _page(self, owner: str, after: int, types: Sequence[str]) -> Page:
        return await self._ask(
            owner,
            PageRequest(
                request_id=clock.new_id(), after=after, types=tuple(types), most=MAX_EVENTS
            ),
        )

    async def _ask(self, owner: str, request: PageRequest) -> Page:
        question = _Question(owner, asyncio.get_running_loop().create_future())
        self._questions[request.request_id] = question
        subject, body = replay_request(owner, self._name), encode_request(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not question.answer.done():
                    await self._broker.client.publish(subject, body)
                    await asyncio.wait({question.answer}, timeout=REPEAT_SECONDS)
                return question.answer.result()
        except TimeoutError as error:
            raise NotAnswered(f"{owner} does not answer a request for its event log") from error
        finally:
            del self._questions[request.request_id]

    async def _subscribe(self) -> None:
        await self._broker.client.subscribe(replay_events(self._name, "*"), cb=self._take)

    async def _take(self, message: Msg) -> None:
        """Accept a page only from the owner that was asked, by the subject that only the owner may publish to.

        The broker delivers replies to any subject that a request names, but under their own subject.
        """
        try:
            headers = PageHeaders.decode(message.headers)
            bodies = [bytes(raw) for raw in decode_batch(message.data)]
        except (ValueError, msgspec.MsgspecError) as error:
            log.warning("replay.ignored", subject=message.subject, reason=str(error))
            return
        question = self._questions.get(headers.request_id)
        if question is None or question.answer.done():  # too late
            return
        if message.subject != replay_events(self._name, question.owner):
            log.warning("replay.ignored", subject=message.subject, reason="not from the owner")
            return
        messages = [self._decode(question.owner, body) for body in bodies]
        page = Page([one for one in messages if one], headers.through, headers.end)
        question.answer.set_result(page)

    def _decode(self, owner: str, body: bytes) -> Message | None:
        """None for an event of another service than the owner."""
        try:
            return decode_of(owner, body, self._catalog)
        except DecodeError:
            return _unreadable(owner, body, self._catalog)


def _retrieve(request: asyncio.Future[Page]) -> None:
    """Its error does not matter if nobody needs the page any more."""
    if not request.cancelled():
        request.exception()


def _unreadable(owner: str, body: bytes, catalog: Catalog) -> Message | None:
    """The event as the stream would bring it; None if it is none of this owner."""
    try:
        subject = claimed_subject(body)
    except DecodeError:
        subject = ""
    if not subject.startswith(everything_of(owner).removesuffix(">")):
        log.warning("replay.ignored", owner=owner, reason="an event of another service")
        return None
    return receive(subject, body, catalog)
