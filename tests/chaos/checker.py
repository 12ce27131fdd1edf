"""Nine invariants, which hold once the shop is at rest: of the databases, the stream, the mails and the HTTP answers."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from nats.errors import TimeoutError as NatsTimeout
from nats.js import api

from notifier_service.domain import NotificationStatus
from order_service.orders.domain import is_final
from quadrille.audit.checks import run_checks
from quadrille.audit.pending import find_warnings
from quadrille.audit.shop_snapshot import ShopSnapshot
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.subjects import EVERYTHING, STREAM
from shared.chassis.storage.database import database_url, open_for_reading
from shared.contracts import OrderCancelled, OrderCompleted, OrderFailed
from shared.contracts.order import OrderEvent
from tests.chaos.customers import Accepted, Customers
from tests.chaos.shop import ChaosShop
from tests.support.read_api_process import Rows, projecting, rows_of
from tests.support.shop_expectations import SERVICES

FETCHED = 1000
FETCH_SECONDS = 2
REPEATED_ORDERS = 50
WINDOW = 400
"""Events are shuffled among this number."""
ENDS = (OrderCompleted, OrderCancelled, OrderFailed)


class Verdict(NamedTuple):
    """What the checker found, and counted."""

    violations: list[str]
    outcomes: Counter[str]
    events: int
    mails: int
    doubled_mails: int
    dead_letters: int
    duplicates: int
    """Messages of the stream beyond the first of each event: consumers received and ignored them."""


class Streamed(NamedTuple):
    """A message of the stream."""

    subject: str
    event_id: str | None
    body: bytes


class Envelope(msgspec.Struct):
    """The part of a CloudEvent that identifies it."""

    id: str


async def check(
    shop: ChaosShop, snapshot: ShopSnapshot, customers: Customers, seed: int, scratch: Path
) -> Verdict:
    """All invariants; 1, 3 and the parts of others that concern the databases are those of `quadrille check`."""
    logged = snapshot.events_by_id
    streamed = [message async for message in _stream(shop)]
    ids = shop.mail.message_ids()
    letters = {(name, subject) for name in SERVICES for subject in shop.dead_letters(name)}
    violations = [
        *shop.findings,
        *(f"{violation}" for violation in run_checks(snapshot)),
        *_unended(snapshot),
        *_late_events(snapshot),
        *_mails(snapshot, shop, ids),
        *_orders(snapshot, customers.accepted),
        *(await _repeated_orders(customers, seed)),
        *_differences(logged, streamed, shop.poison),
        *(await _projection(shop, snapshot, seed, scratch)),
        *(await _lag(shop)),
        *_wrong_letters(snapshot, letters, shop.poison),
        *_unready(shop),
    ]
    orders = snapshot.order.state.orders.values()
    return Verdict(
        violations,
        Counter(order.status.value for order in orders),
        events=len(logged),
        mails=len(ids),
        doubled_mails=sum(count > 1 for count in ids.values()),
        dead_letters=len(letters),
        duplicates=len(streamed) - len({message.event_id for message in streamed}),
    )


def _unended(snapshot: ShopSnapshot) -> Iterator[str]:
    """2: every order has ended; that it has one end only, the audit checks."""
    for order_id, order in snapshot.order.state.orders.items():
        if not is_final(order):
            yield f"order {order_id} is still {order.status}"


def _late_events(snapshot: ShopSnapshot) -> Iterator[str]:
    """2: nothing happens to an order after its end."""
    ended: set[str] = set()
    for recorded in snapshot.order.events:
        if isinstance(recorded.event, OrderEvent) and recorded.entity_id in ended:
            yield f"{recorded.event_type} after the end of order {recorded.entity_id}"
        if isinstance(recorded.event, ENDS):
            ended.add(recorded.entity_id)


def _mails(snapshot: ShopSnapshot, shop: ChaosShop, ids: Counter[str]) -> Iterator[str]:
    """4: each notification that is SENT is one mail; one more for each acceptance that the notifier did not record.

    That an inbox has an event once is its primary key.
    """
    notifications = snapshot.notifier.state.notifications
    sent = {
        notification_id
        for notification_id, notification in notifications.items()
        if notification.status is NotificationStatus.SENT
    }
    received = {_notification_of(message_id) for message_id in ids}
    yield from (f"mail {lost} was not received" for lost in sorted(sent - received))
    yield from (f"mail {extra} is no notification" for extra in sorted(received - sent))
    for message_id, count in ids.items():
        unrecorded = shop.mail.unanswered[message_id] + shop.notifier_kills
        if count > 1 + unrecorded:
            yield f"mail {message_id} was received {count} times"


def _notification_of(message_id: str) -> str:
    return message_id.strip("<>").partition("@")[0]


def _orders(snapshot: ShopSnapshot, accepted: Sequence[Accepted]) -> Iterator[str]:
    """5: what was answered 201 exists, once for each key, and nothing else does: all requests were answered."""
    answered = Counter(order.order_id for order in accepted)
    placed = snapshot.order.state.orders.keys()
    yield from (f"accepted order {lost} is missing" for lost in answered.keys() - placed)
    yield from (f"order {extra} was not accepted" for extra in placed - answered.keys())
    yield from (f"order {same} has {count} keys" for same, count in answered.items() if count > 1)


async def _repeated_orders(customers: Customers, seed: int) -> list[str]:
    """5: the same key has the same order."""
    draw = random.Random(seed)
    again = draw.sample(customers.accepted, min(REPEATED_ORDERS, len(customers.accepted)))
    return [
        f"the key of order {order.order_id} has order {order_id} now"
        for order in again
        if (order_id := await customers.repeat(order)) != order.order_id
    ]


def _differences(
    logged: dict[str, RecordedEvent], streamed: Sequence[Streamed], poison: set[str]
) -> Iterator[str]:
    """6 and 9: the stream has every event of every log, unchanged, and nothing else but the poison."""
    bodies = {message.event_id: message.body for message in streamed}
    for event_id, recorded in logged.items():
        body = bodies.get(event_id)
        place = f"{recorded.event_type} at {recorded.source} {recorded.position}"
        if body is None:
            yield f"the stream has lost {place}"
        elif body != encode(recorded):
            yield f"the stream has another {place}: {body!r}"
    for message in streamed:
        if message.event_id not in logged and message.subject not in poison:
            yield f"the stream has a message that is in no log: {message.subject}"


async def _projection(
    shop: ChaosShop, snapshot: ShopSnapshot, seed: int, scratch: Path
) -> list[str]:
    """7: the read API's rows are those of the logs, shuffled and all delivered twice, in a new database."""
    draw = random.Random(seed)
    async with projecting(scratch / "folded.db") as projection:
        for _ in range(2):
            for batch in _shuffled(snapshot, draw):
                await projection.projector.deliver(batch)
        expected = await projection.rows()
    return list(_row_differences(expected, read_rows(shop)))


def read_rows(shop: ChaosShop) -> Rows:
    """The rows of the read API's database."""
    return open_for_reading(database_url("read", shop.settings))._transact(rows_of)


def _shuffled(snapshot: ShopSnapshot, draw: random.Random) -> Iterator[list[RecordedEvent]]:
    events = sorted(snapshot.events_by_id.values(), key=lambda recorded: recorded.recorded_at)
    for start in range(0, len(events), WINDOW):
        window = events[start : start + WINDOW]
        yield draw.sample(window, len(window))


def _row_differences(expected: Rows, actual: Rows) -> Iterator[str]:
    for table, rows in expected.items():
        if rows != actual[table]:
            theirs = {msgspec.json.encode(row) for row in actual[table]}
            ours = {msgspec.json.encode(row) for row in rows}
            lost, extra = sorted(ours - theirs)[:3], sorted(theirs - ours)[:3]
            yield f"{table} of the read API: lacks {lost}, has {extra}"


async def _lag(shop: ChaosShop) -> list[str]:
    """8: nothing waits for a consumer."""
    async with shop.administrator() as client:
        infos = [await client.jetstream().consumer_info(STREAM, name) for name in SERVICES]
    return [
        f"{info.name} has {info.num_pending} + {info.num_ack_pending} events to handle"
        for info in infos
        if info.num_pending or info.num_ack_pending
    ]


def _wrong_letters(
    snapshot: ShopSnapshot, letters: set[tuple[str, str]], poison: set[str]
) -> Iterator[str]:
    """8: the dead letters are poison; and nothing else needs an operator."""
    for service, subject in letters:
        if subject not in poison:
            yield f"{service} has a dead letter: {subject}"
    for warning in find_warnings(snapshot):
        if "is a dead letter" not in warning.what:
            yield f"{warning}"


def _unready(shop: ChaosShop) -> Iterator[str]:
    """9: readiness is back."""
    for name in SERVICES:
        response = shop.health(name, "ready")
        if response is None or response.status_code != 200:
            yield f"{name} is not ready: {response and response.text}"


async def _stream(shop: ChaosShop) -> AsyncIterator[Streamed]:
    config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=30)
    async with shop.administrator() as client:
        stream = client.jetstream()
        left = (await stream.stream_info(STREAM)).state.messages
        reading = await stream.pull_subscribe(EVERYTHING, stream=STREAM, config=config)
        while left > 0:
            try:
                messages = await reading.fetch(min(FETCHED, left), timeout=FETCH_SECONDS)
            except NatsTimeout:
                return
            for message in messages:
                yield Streamed(message.subject, _event_id(message.data), message.data)
            left -= len(messages)


def _event_id(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=Envelope).id
    except msgspec.MsgspecError:
        return None
