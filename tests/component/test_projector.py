"""The projector on a real database: any delivery gives the same rows, and a poison event blocks only its entity."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from read_api.positions import format_positions, of_every_source
from read_api.rebuild import derived_tables
from read_api.store import PROJECTIONS
from shared.chassis.engine.redriver import Redriver
from shared.chassis.engine.writer import StorageUnavailable
from shared.chassis.messages.cloudevents import encode
from shared.chassis.messages.received import MalformedMessage, Message, receive
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.storage.checkpoints import MAX_AHEAD, Divergence
from shared.chassis.storage.database import open_for_reading
from shared.chassis.storage.dead_letters import of_entity
from shared.contracts import (
    CATALOG,
    LineItem,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    ShipmentCompleted,
    ShipmentInitiated,
    StockReserved,
)
from tests.support.eventually import eventually
from tests.support.histories import Log, deliveries, in_memory_shops, log_of, logs_of
from tests.support.in_memory_shop import InMemoryShop
from tests.support.read_api_process import Projection, Rows, projecting
from tests.support.rebuilding import rebuild


def created(order_id: str, **changes: Any) -> OrderCreated:
    facts = {"order_id": order_id, "user_id": "u", "items": (), "total_amount": 1, **changes}
    return OrderCreated(currency="JPY", **facts)


async def rows_after(batches: list[Log]) -> Rows:
    async with projecting() as projection:
        for batch in batches:
            await projection.projector.deliver(batch)
        assert projection.projector.missing == {}
        return await projection.rows()


@settings(max_examples=25)
@given(st.data())
async def test_same_events_give_same_rows_in_any_delivery(data) -> None:
    logs = logs_of(data.draw(in_memory_shops()))
    batches = data.draw(deliveries(logs))
    assert await rows_after(batches) == await rows_after(list(logs.values()))


async def test_redelivered_held_event_is_no_longer_held() -> None:
    log = log_of("order", created("o1"), created("o2"))
    async with projecting() as projection:
        await projection.projector.deliver(log[1:])
        await projection.projector.deliver(log)
        assert projection.projector.missing == {}
        assert (await projection.rows())["held_events"] == []


async def test_held_events_survive_a_restart(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), OrderConfirmed(order_id="o1"), created("o2"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log[1:])
        assert projection.projector.missing == {"order": 1}
    async with projecting(tmp_path / "read.db") as projection:
        assert projection.projector.missing == {"order": 1}
        await projection.projector.deliver(log[:1])
        rows = await projection.rows()
        assert projection.projector.missing == {}
    assert [row["status"] for row in rows["orders"]] == ["AWAITING_SHIPMENT", "PENDING"]
    assert rows["held_events"] == []


async def test_many_held_events_are_applied_at_once(tmp_path: Path) -> None:
    log = log_of("order", *(created(f"o{number}") for number in range(1500)))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log[1:])
        await projection.projector.deliver(log[:1])
        assert projection.projector.positions == {"order": 1500}
        assert len((await projection.rows())["orders"]) == 1500


async def statuses(projection: Projection) -> dict[str, str]:
    return {row["order_id"]: row["status"] for row in (await projection.rows())["orders"]}


async def test_unprojectable_event_parks_only_its_entity(tmp_path: Path) -> None:
    log = log_of(
        "order",
        created("good"),
        OrderConfirmed(order_id="bad"),
        OrderCancelled(order_id="bad", reason="CUSTOMER"),
        OrderConfirmed(order_id="good"),
    )
    shipped = log_of("shipping", ShipmentInitiated(order_id="bad", shipment_id="s1", items=()))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([*log, *shipped])
        rows = await projection.rows()
        assert await statuses(projection) == {"good": "AWAITING_SHIPMENT"}
        assert [row["order_id"] for row in rows["shipments"]] == ["bad"]
        assert len(rows["events"]) == 5
        assert projection.projector.positions == {"order": 4, "shipping": 1}
        assert await projection.letters() == [
            ("OrderConfirmed", "PARKED"),
            ("OrderCancelled", "WAITING"),
        ]


async def test_event_refused_by_one_projection_changes_no_other(tmp_path: Path) -> None:
    items = (LineItem(product_id="unknown", quantity=1),)
    log = log_of("inventory", StockReserved(order_id="o1", items=items))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log)
        assert (await projection.rows())["reservations"] == []
        assert await projection.letters() == [("StockReserved", "PARKED")]


async def test_driver_error_parks_nothing(tmp_path: Path) -> None:
    log = log_of("order", created("good"), created("bad", total_amount=10**30))
    async with projecting(tmp_path / "read.db") as projection:
        with pytest.raises(StorageUnavailable):
            await projection.projector.deliver(log)
        assert await projection.letters() == []
        assert projection.projector.positions == {"order": 1}
        assert await statuses(projection) == {"good": "PENDING"}


async def test_event_after_parked_event_waits(tmp_path: Path) -> None:
    log = log_of("order", OrderConfirmed(order_id="bad"), created("bad"), created("good"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log[:1])
        await projection.projector.deliver(log[1:])
        assert await statuses(projection) == {"good": "PENDING"}
        assert await projection.letters() == [
            ("OrderConfirmed", "PARKED"),
            ("OrderCreated", "WAITING"),
        ]


async def test_held_poison_event_is_parked_when_applied(tmp_path: Path) -> None:
    log = log_of("order", created("good"), OrderConfirmed(order_id="bad"), created("also"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log[1:])
        await projection.projector.deliver(log[:1])
        assert await statuses(projection) == {"also": "PENDING", "good": "PENDING"}
        assert await projection.letters() == [("OrderConfirmed", "PARKED")]


def of_an_unknown_kind(event: RecordedEvent) -> Message:
    body = encode(event).replace(b"OrderConfirmed", b"OrderMislaid")
    return receive(f"shop.order.{event.entity_id}.order_mislaid", body, CATALOG)


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_event_of_unknown_type_parks_only_its_entity(tmp_path: Path, first: int) -> None:
    log = log_of("order", created("o1"), OrderConfirmed(order_id="o1"), created("o2"))
    messages = [log[0], of_an_unknown_kind(log[1]), log[2]]
    async with projecting(tmp_path / "read.db") as projection:
        for message in messages[first:] + messages[:first] + messages:
            await projection.projector.deliver([message])
        assert await statuses(projection) == {"o1": "PENDING", "o2": "PENDING"}
        assert projection.projector.positions == {"order": 3}
        assert await projection.letters() == [("OrderMislaid", "AWAITING_UPGRADE")]


@asynccontextmanager
async def redriving(
    path: Path, projections: Sequence[Any] = PROJECTIONS
) -> AsyncIterator[tuple[Projection, Redriver]]:
    async with projecting(path, projections=projections) as projection:
        reads = open_for_reading(f"sqlite:///{path}")
        redriver = Redriver(reads, projection.projector.writer, projection.projector)
        loop = asyncio.create_task(redriver.run())
        try:
            yield projection, redriver
        finally:
            loop.cancel()
            await asyncio.wait([loop])
            await reads.close()


async def redrive(redriver: Redriver, key: str) -> list[tuple[str, str | None, str]]:
    redrive_id = await redriver.request(of_entity(key), by="olga")
    done = await redriver.wait(redrive_id, 10)
    assert done is not None
    return [(item.source, item.event_type, str(item.outcome)) for item in done.items]


def _failing(faulty: set[str]) -> list[Any]:
    """The projections with a fault for the orders in `faulty`."""

    def with_fault(projection: Any) -> Any:
        def evolve(state: Any, event: RecordedEvent) -> Any:
            if event.entity_id in faulty:
                raise ZeroDivisionError(event.entity_id)
            return projection.evolve(state, event)

        return projection._replace(evolve=evolve)

    return list(map(with_fault, PROJECTIONS))


async def test_redrive_applies_letters_of_each_source_in_order(tmp_path: Path) -> None:
    faulty = {"bad"}
    log = log_of("order", created("bad"), OrderConfirmed(order_id="bad"), created("good"))
    shipped = log_of("shipping", ShipmentInitiated(order_id="bad", shipment_id="s1", items=()))
    async with redriving(tmp_path / "read.db", _failing(faulty)) as (projection, redriver):
        await projection.projector.deliver([*log, *shipped])
        assert await statuses(projection) == {"good": "PENDING"}
        faulty.clear()
        before = await projection.rows()
        order, shipping = await redriver.attempt("bad")
        assert await projection.rows() == before
        assert [change.kind for change in order.changes] == ["orders"]
        assert [change.kind for change in shipping.changes] == ["shipments"]
        assert await redrive(redriver, "bad") == [
            ("order", "OrderCreated", "HANDLED"),
            ("order", "OrderConfirmed", "HANDLED"),
            ("shipping", "ShipmentInitiated", "HANDLED"),
        ]
        assert await statuses(projection) == {"bad": "AWAITING_SHIPMENT", "good": "PENDING"}
        assert await projection.letters() == []
        assert len((await projection.rows())["events"]) == 4
        cancelled = OrderCancelled(order_id="bad", reason="CUSTOMER")
        await projection.projector.deliver([replace(log_of("order", cancelled)[0], position=4)])
        assert (await statuses(projection))["bad"] == "CANCELLED"


async def test_discarded_event_is_left_out_of_rebuild(tmp_path: Path) -> None:
    log = log_of("order", OrderConfirmed(order_id="o1"), created("o1"))
    async with redriving(tmp_path / "read.db") as (projection, redriver):
        await projection.projector.deliver(log)
        redrive_id = await redriver.discard("o1", log[0].event_id, by="olga", reason="a test")
        assert redrive_id is not None
        await redriver.wait(redrive_id, 10)
        assert await statuses(projection) == {"o1": "PENDING"}
        await rebuild(projection.database, derived_tables())
        assert await statuses(projection) == {"o1": "PENDING"}
        assert await projection.letters() == [("OrderConfirmed", "DISCARDED")]


def of_later_release(event: RecordedEvent) -> Message:
    schema = f"urn:quadrille:event:{event.event_type}:".encode()
    body = encode(event).replace(schema + b"1", schema + b"2")
    return receive(event.subject, body, CATALOG)


async def test_event_of_later_release_is_applied_after_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(
        "order",
        created("o1"),
        OrderConfirmed(order_id="o1"),
        created("o2"),
        OrderCancellationRequested(order_id="o1", reason="CUSTOMER"),
        OrderCancelled(order_id="o1", reason="CUSTOMER"),
    )
    confirmed, end = of_later_release(log[1]), of_later_release(log[4])
    async with redriving(tmp_path / "read.db") as (projection, _):
        await projection.projector.deliver([log[0], confirmed, log[2], log[3], end])
        assert await statuses(projection) == {"o1": "PENDING", "o2": "PENDING"}
        await rebuild(projection.database, derived_tables())
        assert await statuses(projection) == {"o1": "PENDING", "o2": "PENDING"}
        assert len(await projection.letters()) == 3
    for event_type in (OrderConfirmed, OrderCancelled):
        monkeypatch.setattr(event_type, "SCHEMA_VERSION", 2)
    async with redriving(tmp_path / "read.db") as (projection, _):
        await eventually(lambda: _is_empty(projection.letters()))
        assert (await statuses(projection))["o1"] == "CANCELLED"
        rows = await projection.rows()
        assert (len(rows["events"]), rows["passed_over"]) == (5, [])
        await projection.projector.deliver([confirmed, log[1], end])
        assert projection.projector.divergences == []


async def _is_empty(result: Any) -> bool:
    return await result == []


def forged(event: RecordedEvent) -> RecordedEvent:
    """Another event at the position of this one."""
    return replace(event, event_id=f"forged-{event.position}", event=created("forged"))


async def held_events(projection: Projection) -> list[tuple[int, str]]:
    return [(row["position"], row["event_id"]) for row in (await projection.rows())["held_events"]]


async def test_event_at_applied_position_is_held_as_divergence(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), created("o2"), created("o3"))
    rival = forged(log[1])
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([*log[:2], rival])
        await projection.projector.deliver([log[2], rival, log[1]])
        assert await statuses(projection) == {"o1": "PENDING", "o2": "PENDING", "o3": "PENDING"}
        assert await held_events(projection) == [(2, "forged-2")]
        assert projection.projector.divergences == [
            Divergence("order", 2, "forged-2", log[1].event_id)
        ]
    async with projecting(tmp_path / "read.db") as projection:
        assert projection.projector.divergences
        assert await projection.projector.forget("order", 2, "forged-2")
        assert not await projection.projector.forget("order", 2, "forged-2")
        assert projection.projector.divergences == []
        assert await held_events(projection) == []


async def test_true_event_after_forged_one_is_held(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), created("o2"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([forged(log[0]), *log])
        assert await statuses(projection) == {"forged": "PENDING", "o2": "PENDING"}
        assert projection.projector.divergences == [
            Divergence("order", 1, log[0].event_id, "forged-1")
        ]


@pytest.mark.parametrize("is_one_batch", [True, False])
async def test_first_of_two_held_diverging_events_is_applied(
    tmp_path: Path, *, is_one_batch: bool
) -> None:
    log = log_of("order", created("o1"), created("o2"), created("o3"))
    messages = [log[2], forged(log[1]), log[1], log[0]]
    batches = [messages] if is_one_batch else [[message] for message in messages]
    async with projecting(tmp_path / "read.db") as projection:
        for batch in batches:
            await projection.projector.deliver(batch)
        assert set(await statuses(projection)) == {"o1", "forged", "o3"}
        assert await held_events(projection) == [(2, log[1].event_id)]
        assert projection.projector.divergences == [
            Divergence("order", 2, log[1].event_id, "forged-2")
        ]


async def test_longest_held_event_is_applied_first(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), created("o2"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log[1:])
        await projection.projector.deliver([log[0], forged(log[1])])
        assert set(await statuses(projection)) == {"o1", "o2"}
        assert await held_events(projection) == [(2, "forged-2")]


async def test_forgetting_a_held_event_unblocks_the_other(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), created("o2"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([forged(log[1]), log[1]])
        assert await projection.projector.forget("order", 2, "forged-2")
        await projection.projector.deliver(log[:1])
        assert set(await statuses(projection)) == {"o1", "o2"}
        assert (projection.projector.missing, projection.projector.divergences) == ({}, [])


async def test_event_far_ahead_is_held_without_waiting(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), created("o2"))
    near, far = (replace(forged(log[0]), position=1 + MAX_AHEAD + more) for more in (0, 1))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([log[0], far])
        assert projection.projector.missing == {}
        assert projection.projector.divergences == [
            Divergence("order", far.position, far.event_id, None)
        ]
        await projection.projector.deliver([replace(near, event_id="near")])
        assert projection.projector.missing == {"order": 2}
        assert await projection.projector.forget("order", near.position, "near")
        assert projection.projector.missing == {}
        await projection.projector.deliver(log[1:])
        assert set(await statuses(projection)) == {"o1", "o2"}


async def test_event_at_skipped_position_diverges(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), OrderConfirmed(order_id="o1"))
    unknown = of_an_unknown_kind(log[1])
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([log[0], unknown])
        await projection.projector.deliver([unknown])
        assert projection.projector.divergences == []
        await projection.projector.deliver([forged(log[1])])
        assert projection.projector.divergences == [
            Divergence("order", 2, "forged-2", log[1].event_id)
        ]


async def test_redelivered_parked_event_does_not_diverge(tmp_path: Path) -> None:
    log = log_of("order", created("o1"), OrderConfirmed(order_id="bad"))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log)
        await projection.projector.deliver(log)
        assert projection.projector.divergences == []


async def test_restored_older_log_diverges(tmp_path: Path) -> None:
    log = log_of("order", *(created(f"o{number}") for number in range(5)))
    again = log_of("order", *(created(f"new{number}") for number in range(7)))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(log)
        await projection.projector.deliver(again[2:])
        assert [divergence.position for divergence in projection.projector.divergences] == [3, 4, 5]
        assert [divergence.event_id for divergence in projection.projector.divergences] == [
            event.event_id for event in again[2:5]
        ]
        assert projection.projector.positions == {"order": 7}


@settings(max_examples=50)
@given(st.data())
async def test_forged_events_hide_no_true_event(data) -> None:
    """In any order of arrival, each true event is applied, or held and reported."""
    log = log_of(
        "order", *(created(f"o{number}") for number in range(data.draw(st.integers(1, 6))))
    )
    positions = st.integers(1, len(log) + 2) | st.just(MAX_AHEAD + 10)
    forgeries = [
        replace(log[0], position=position, event_id=f"forged-{number}", event=created(f"f{number}"))
        for number, position in enumerate(data.draw(st.lists(positions, max_size=4)))
    ]
    batches = data.draw(deliveries({"order": [*log, *forgeries]}))
    async with projecting() as projection:
        for batch in batches:
            await projection.projector.deliver(batch)
        rows, projector = await projection.rows(), projection.projector
    applied = {event["event_id"] for event in rows["events"]}
    held = {row["event_id"] for row in rows["held_events"]}
    everything = {event.event_id for event in [*log, *forgeries]}
    assert applied | held == everything
    assert not applied & held
    diverging = {divergence.event_id for divergence in projector.divergences}
    waiting = held - diverging
    assert bool(waiting) == bool(projector.missing)
    assert {event.event_id for event in log} <= applied | diverging
    if not forgeries:
        assert not held


async def test_repeated_malformed_message_is_kept_once(tmp_path: Path) -> None:
    malformed = MalformedMessage(
        subject="shop.order.o1.order_created", body=b"\xff{", error="no JSON"
    )
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([malformed, malformed])
        await projection.projector.deliver([malformed])
        assert await projection.letters() == [(None, "UNDECODABLE")]


async def collect(projection: Projection, seen: dict[str, int], number: int) -> list[str]:
    """The ids of the next `number` messages of a slow stream."""
    ids: list[str] = []
    async for message in projection.streams.follow(dict(seen), None):
        if message.data is not None:
            ids.append(str(message.id))
        if len(ids) == number:
            return ids
    return ids


@pytest.mark.parametrize("tail", [3, 4096])
async def test_slow_stream_sends_every_event_once(tmp_path: Path, tail: int) -> None:
    log = log_of("order", *(created(f"o{number}") for number in range(601)))
    async with projecting(tmp_path / "read.db", tail=tail) as projection:
        stream = projection.streams.follow({"order": 0}, None)
        await anext(stream)
        message_ids: list[str] = []
        for start in range(0, 600, 50):
            await projection.projector.deliver(log[start : start + 50])
            message_ids += [str((await anext(stream)).id) for _ in range(20)]
        message_ids += [str((await anext(stream)).id) for _ in range(600 - len(message_ids))]
        live = asyncio.create_task(anext(stream))  # catches up, then waits
        await asyncio.sleep(0.2)
        await projection.projector.deliver(log[600:])
        message_ids.append(str((await live).id))
        await stream.aclose()
    assert message_ids == [f"order:{position}" for position in range(1, 602)]


async def test_stream_resumes_where_another_was_cut(tmp_path: Path) -> None:
    shop = InMemoryShop({"prod001": 5})
    shop.place("o1", [("prod001", 1)])
    shop.deliver_all()
    logs = logs_of(shop)
    total = sum(map(len, logs.values()))
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver([event for log in logs.values() for event in log])
        whole = await collect(projection, {}, total)
        for cut in range(1, total):
            seen = dict(part.split(":") for part in whole[cut - 1].split(","))
            rest = await collect(
                projection, {source: int(at) for source, at in seen.items()}, total - cut
            )
            assert rest == whole[cut:]


async def test_closing_the_feed_ends_every_stream(tmp_path: Path) -> None:
    async with projecting(tmp_path / "read.db") as projection:
        stream = projection.streams.follow({}, None)
        await anext(stream)
        projection.feed.close()
        assert [message async for message in stream] == []


def test_stream_without_events_yet_can_be_resumed() -> None:
    assert format_positions(of_every_source({"order": 7})).split(",") == [
        "inventory:0",
        "notifier:0",
        "order:7",
        "shipping:0",
    ]


async def test_shipment_before_its_order_is_shown_with_it(
    tmp_path: Path,
) -> None:
    shipped = log_of(
        "shipping",
        ShipmentInitiated(order_id="o1", shipment_id="s1", items=()),
        ShipmentCompleted(order_id="o1", shipment_id="s1", tracking_number="T1"),
    )
    ordered = log_of("order", created("o1"), OrderCompleted(order_id="o1", tracking_number="T1"))
    moved = [replace(event, correlation_id="o1") for event in ordered]
    async with projecting(tmp_path / "read.db") as projection:
        await projection.projector.deliver(shipped)
        await projection.projector.deliver(moved)
        rows = await projection.rows()
    assert rows["shipments"][0]["status"] == "COMPLETED"
    assert rows["orders"][0]["status"] == "COMPLETED"
