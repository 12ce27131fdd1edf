"""Faults of messages: repeated, out of order, and such that no service can handle."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
from nats.aio.client import Client

from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.subjects import STREAM
from shared.contracts import OrderCreated
from tests.chaos.fault import fault
from tests.chaos.shop import UNREACHABLE, ChaosShop
from tests.support.history import recorded
from tests.support.mail_sink import Answer

MESSAGES, MAILS = "messages", "mails"
SOURCES = ("order", "inventory", "shipping", "notifier")
REVERSED = 100
NUDGED = 10
LARGE = 200_000


@fault(
    kind="duplicates",
    lane=MESSAGES,
    test="component/test_relay.py::test_event_published_under_new_id_is_handled_once",
)
async def log_resent(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """The newer half of a log, or all of it, under new message ids."""
    name = draw.choice(SOURCES)
    first = draw.choice([1, max(1, shop.last_position(name) // 2)])
    with suppress(httpx.TransportError):
        await asyncio.to_thread(shop.admin.post, name, "/events/resend", {"from": first})
    yield


@fault(
    kind="out of order",
    lane=MESSAGES,
    test="component/test_projector.py::test_same_events_give_same_rows_in_any_delivery",
)
async def events_reversed(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """The last events of the stream once more, the newest first."""
    with suppress(*UNREACHABLE):
        async with shop.administrator() as client:
            await _republish_reversed(client, draw)
    yield


async def _republish_reversed(client: Client, draw: random.Random) -> None:
    stream = client.jetstream()
    state = (await stream.stream_info(STREAM)).state
    for sequence in range(state.last_seq, max(state.first_seq, state.last_seq - REVERSED), -1):
        message = await stream.get_msg(STREAM, sequence)
        headers = {**(message.headers or {}), "Nats-Msg-Id": f"reversed-{draw.getrandbits(64):x}"}
        await stream.publish(message.subject or "", message.data or b"", headers=headers)


@fault(
    kind="duplicates",
    lane=MESSAGES,
    test="component/test_nudge.py::test_nudge_resends_its_order_and_newest_event",
)
async def orders_nudged(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """Also of orders that have ended: it changes nothing of them."""
    order_ids = shop.order_ids()
    for order_id in draw.sample(order_ids, min(NUDGED, len(order_ids))):
        with suppress(httpx.TransportError):
            await asyncio.to_thread(shop.admin.post, "order", f"/orders/{order_id}/nudge", {})
    yield


GENUINE: dict[str, Any] = json.loads(
    encode(
        recorded(
            OrderCreated(order_id="o1", user_id="guest", items=(), total_amount=0, currency="JPY")
        )
    )
)
POISON = {
    "not JSON": b"{",
    "not an object": b"[]",
    "empty": b"",
    "large": b"\x00" * LARGE,
    "without an id": json.dumps({**GENUINE, "id": None}).encode(),
    "without data": json.dumps({**GENUINE, "data": None}).encode(),
    "of another source": json.dumps({**GENUINE, "source": "inventory"}).encode(),
    "of another entity": json.dumps(GENUINE).encode(),
}


@fault(
    kind="poison",
    lane=MESSAGES,
    test="component/test_dead_letters.py::test_malformed_message_blocks_nothing",
)
async def poison(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """A message that is no event of the shop, published like one."""
    body = POISON[draw.choice(list(POISON))]
    subject = f"shop.order.poison-{draw.getrandbits(32):08x}.order_created"
    shop.poison.add(subject)
    with suppress(*UNREACHABLE):
        async with shop.administrator() as client:
            await client.jetstream().publish(subject, body)
    yield


@fault(
    kind="mail server",
    lane=MAILS,
    test="component/test_mail_delivery.py::test_mails_wait_for_unreachable_server",
)
async def mail_server_down(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    shop.mail.stop()
    yield
    shop.mail.start()


@fault(
    kind="mail server",
    lane=MAILS,
    test="component/test_mail_delivery.py::test_hanging_mail_server_times_out",
)
async def mail_server_hanging(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    with shop.answering_mails(Answer.NONE):
        yield


@fault(
    kind="mail server",
    lane=MAILS,
    test="component/test_mail_delivery.py::test_temporarily_refused_mail_is_sent_later",
)
async def mail_server_busy(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    with shop.answering_mails(Answer.BUSY):
        yield


@fault(kind="mail server", lane=MAILS, test="e2e/test_crashes.py::test_service_recovers_from_crash")
async def mail_acceptance_lost(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """A mail whose acceptance the notifier does not learn of is sent again."""
    with shop.answering_mails(Answer.LOST):
        yield
