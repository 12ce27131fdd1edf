"""Waiting for what one has done: exactly until it is there, for a while, and for nothing that makes no sense."""

import asyncio

import pytest

from read_api.freshness import Freshness, parse
from shared.problem import BadRequest
from shared.refused import Refused


@pytest.mark.parametrize(
    ("token", "places"),
    [
        ("order:12", {"order": 12}),
        ("order:12,inventory:30", {"order": 12, "inventory": 30}),
        ("order:12,order:7", {"order": 12}),
        ("notifier:0", {"notifier": 0}),
    ],
)
def test_a_token_names_a_position_of_each_source(token: str, places: dict[str, int]) -> None:
    assert parse(token, "after") == places


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
        "order:9999999999999999999",
        "order:1;inventory:2",
    ],
)
def test_what_is_no_token_is_named(token: str) -> None:
    with pytest.raises(BadRequest, match="after"):
        parse(token, "after")


async def test_what_is_there_is_not_waited_for() -> None:
    freshness = Freshness(patience_seconds=0)
    freshness.tell({"order": 5})
    await freshness.wait({"order": 5})


async def test_a_wait_ends_with_the_last_of_what_it_is_for() -> None:
    freshness = Freshness(patience_seconds=60)
    waiting = asyncio.create_task(freshness.wait({"order": 5, "inventory": 2}))
    for applied in ({"order": 4}, {"order": 6}, {"order": 6, "inventory": 1}):
        freshness.tell(applied)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
    freshness.tell({"order": 6, "inventory": 2})
    await waiting


async def test_what_does_not_come_in_time_is_to_be_asked_for_again() -> None:
    with pytest.raises(Refused) as refused:
        await Freshness(patience_seconds=0.01).wait({"order": 1})
    assert (refused.value.status, refused.value.problem) == (503, "projection-behind")
    assert refused.value.headers == {"Retry-After": "1"}


async def test_what_is_committed_while_one_looks_is_seen() -> None:
    freshness = Freshness(patience_seconds=60)
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            freshness.tell({"order": 1})
        return looks > 1

    assert await freshness.until(look)


async def test_nobody_waits_for_a_service_that_ends() -> None:
    freshness = Freshness(patience_seconds=60)
    waiting = asyncio.create_task(freshness.wait({"order": 1}))
    await asyncio.sleep(0)
    freshness.close()
    with pytest.raises(Refused):
        await waiting
