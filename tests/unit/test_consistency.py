"""Queries wait until a token's positions are applied, and no longer than the timeout."""

import asyncio

import pytest

from read_api.consistency import Consistency
from read_api.positions import MAX_LENGTH, format_positions, parse_positions
from shared.chassis.http.problems import BadRequest
from shared.chassis.messages.rejection import Rejected
from shared.contracts import CATALOG

SEVERAL_LOOPS = 5


async def let_others_run() -> None:
    for _ in range(SEVERAL_LOOPS):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("token", "positions"),
    [
        ("order:12", {"order": 12}),
        ("order:12,inventory:30", {"order": 12, "inventory": 30}),
        ("notifier:0", {"notifier": 0}),
    ],
)
def test_token_names_position_of_each_source(token: str, positions: dict[str, int]) -> None:
    assert parse_positions(token, "after") == positions


def test_longest_positions_fit_the_bound() -> None:
    positions = dict.fromkeys(CATALOG.sources, 10**18 - 1)
    text = format_positions(positions)
    assert len(text) <= MAX_LENGTH
    assert parse_positions(text, "after") == positions


@pytest.mark.parametrize(
    "token",
    [
        "",
        "order",
        "order:",
        "order:-1",
        "order:1,",
        "order:1\n",
        "order: 1",
        "order:\u0661",
        "nobody:1",
        "read:1",
        "order:9999999999999999999",
        "order:1;inventory:2",
        "order:1,order:2",
        ",".join(["order:1"] * 10_000),
    ],
)
def test_malformed_token_is_a_bad_request(token: str) -> None:
    with pytest.raises(BadRequest, match="after"):
        parse_positions(token, "after")


async def test_wait_returns_at_once_when_applied() -> None:
    consistency = Consistency(timeout_seconds=0, max_waiting=0)
    consistency.notify({"order": 5})
    await consistency.wait({"order": 5})


async def test_wait_ends_when_all_positions_are_applied() -> None:
    consistency = Consistency(timeout_seconds=60)
    waiting = asyncio.create_task(consistency.wait({"order": 5, "inventory": 2}))
    for applied in ({"order": 4}, {"order": 6}, {"order": 6, "inventory": 1}):
        consistency.notify(applied)
        await let_others_run()
        assert not waiting.done()
    consistency.notify({"order": 6, "inventory": 2})
    await waiting


async def test_wait_is_rejected_after_timeout() -> None:
    with pytest.raises(Rejected) as refused:
        await Consistency(timeout_seconds=0.01).wait({"order": 1})
    assert refused.value.code == "projection-behind"


class Order:
    """An order that may come to exist; counts how often it was looked for."""

    def __init__(self) -> None:
        self.is_there = False
        self.looks = 0

    async def look(self) -> bool:
        self.looks += 1
        return self.is_there


async def test_waiter_is_woken_only_by_its_order() -> None:
    consistency, order = Consistency(timeout_seconds=60), Order()
    waiting = asyncio.create_task(consistency.poll_until("o1", order.look))
    await let_others_run()
    for position in range(10):
        consistency.notify({"order": position}, ["o2", "o3"])
        await let_others_run()
    assert order.looks == 1
    consistency.notify({"order": 11}, ["o1"])
    await let_others_run()
    assert (order.looks, waiting.done()) == (2, False)
    order.is_there = True
    consistency.notify({"order": 12}, ["o2", "o1"])
    assert await waiting
    assert order.looks == 3


async def test_missing_order_is_looked_up_once() -> None:
    order = Order()
    assert not await Consistency(timeout_seconds=0.01).poll_until("o1", order.look)
    assert order.looks == 1


async def test_commit_during_lookup_causes_another_lookup() -> None:
    consistency = Consistency(timeout_seconds=60)
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            consistency.notify({"order": 1}, ["o1"])
        return looks > 1

    assert await consistency.poll_until("o1", look)


async def test_too_many_waiters_are_rejected() -> None:
    consistency, order = Consistency(timeout_seconds=60, max_waiting=2), Order()
    first = asyncio.create_task(consistency.wait({"order": 1}))
    second = asyncio.create_task(consistency.poll_until("o1", order.look))
    await let_others_run()
    for wait in (consistency.wait({"order": 1}), consistency.poll_until("o2", order.look)):
        with pytest.raises(Rejected) as refused:
            await wait
        assert refused.value.code == "too-many-waiting"
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(consistency.wait({"order": 1}))
    await let_others_run()
    consistency.notify({"order": 1})
    await asyncio.gather(first, third)


async def test_closing_ends_all_waits() -> None:
    consistency, order = Consistency(timeout_seconds=60), Order()
    waiting = asyncio.create_task(consistency.wait({"order": 1}))
    looking = asyncio.create_task(consistency.poll_until("o1", order.look))
    await let_others_run()
    consistency.close()
    with pytest.raises(Rejected):
        await waiting
    assert not await looking
    assert not await consistency.poll_until("o1", order.look)
