"""Faults of the broker, of its store, and of the way to it."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from shared.chassis.messages.subjects import STREAM
from tests.chaos.fault import fault
from tests.chaos.shop import BROKER, UNREACHABLE, ChaosShop
from tests.support.shop_expectations import SERVICES

LANE = "broker"
MAX_DOWN_SECONDS = 2.0
"""Until it starts again on a changed store."""


@fault(
    kind="broker killed",
    lane=LANE,
    test="component/test_consumer.py::test_killed_broker_loses_and_repeats_no_event",
)
async def broker_killed(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone(BROKER):
        shop.broker.kill()
        yield
        shop.broker.restart()


@fault(
    kind="broker killed", lane=LANE, test="e2e/test_lifecycle.py::test_broker_crash_loses_no_order"
)
async def broker_restarted(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone(BROKER):
        await asyncio.to_thread(shop.broker.terminate)
        yield
        shop.broker.restart()


@fault(
    kind="broker killed",
    lane=LANE,
    test="component/test_consumer.py::test_hanging_broker_is_waited_for",
)
async def broker_frozen(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone(BROKER):
        shop.broker.pause()
        yield
        shop.broker.resume()


@fault(
    kind="store wiped",
    lane=LANE,
    test="component/test_resync.py::test_wiped_store_is_filled_again_twice",
)
async def store_wiped(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """Once or twice."""
    async with shop.alone(BROKER):
        for _ in range(draw.randint(1, 2)):
            await _offline(shop, draw, shop.broker.wipe)
            await asyncio.sleep(draw.random())
        yield


@fault(
    kind="store rolled back",
    lane=LANE,
    test="component/test_resync.py::test_events_after_older_copy_are_published_again",
)
async def store_rolled_back(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """To a copy that was made while the fault began."""
    async with shop.alone(BROKER):
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "store"
            shop.broker.kill()
            shop.broker.copy_store(copy)
            shop.broker.restart()
            yield
            shop.broker.put_back(copy)
            shop.broker.restart()


@fault(
    kind="store rolled back",
    lane=LANE,
    test="component/test_resync.py::test_restarted_services_notice_an_older_copy",
)
async def power_cut(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """The broker loses what it had not synced, while two services die and start again."""
    dying = draw.sample(list(SERVICES), 2)
    async with shop.alone(BROKER, *dying):
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "store"
            shop.broker.kill()
            shop.broker.copy_store(copy)
            shop.broker.restart()
            yield
            await shop.kill_services(*dying)
            shop.broker.put_back(copy)
            shop.broker.restart()
            for name in dying:
                shop.start_service(name)


@fault(
    kind="block damaged",
    lane=LANE,
    test="component/test_resync.py::test_damaged_event_in_the_middle_is_replaced",
)
async def byte_flipped(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    def flip() -> None:
        if not (blocks := shop.broker.blocks()):
            return
        block = draw.choice(blocks)
        content = bytearray(block.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        block.write_bytes(content)

    async with shop.alone(BROKER):
        await _offline(shop, draw, flip)
        yield


@fault(
    kind="block damaged",
    lane=LANE,
    test="component/test_resync.py::test_damaged_last_block_is_completed",
)
async def block_truncated(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    def truncate() -> None:
        if not (blocks := shop.broker.blocks()):
            return
        block = draw.choice(blocks)
        content = block.read_bytes()
        block.write_bytes(content[: draw.randrange(len(content))])

    async with shop.alone(BROKER):
        await _offline(shop, draw, truncate)
        yield


@fault(
    kind="stream or consumer deleted",
    lane=LANE,
    test="component/test_resync.py::test_deleted_stream_is_filled_again",
)
async def stream_deleted(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone(BROKER):
        with suppress(*UNREACHABLE):
            async with shop.administrator() as client:
                await client.jetstream().delete_stream(STREAM)
        yield


@fault(
    kind="stream or consumer deleted",
    lane=LANE,
    test="component/test_consumer.py::test_deleted_durable_is_created_again_without_repetition",
)
async def consumers_deleted(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    async with shop.alone(BROKER):
        for name in draw.sample(list(SERVICES), draw.randint(1, len(SERVICES))):
            with suppress(*UNREACHABLE):
                async with shop.administrator() as client:
                    await client.jetstream().delete_consumer(STREAM, name)
        yield


@fault(
    kind="disk full",
    lane=LANE,
    test="component/test_relay.py::test_events_wait_while_the_stream_is_full",
    needs_small_disk=True,
)
async def broker_disk_full(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """A broker without space stays frozen until it is restarted, which its operator does."""
    async with shop.alone(BROKER):
        shop.disks[BROKER].fill()
        yield
        shop.disks[BROKER].free()
        await asyncio.to_thread(shop.broker.terminate)
        shop.broker.restart()


@fault(
    kind="partition",
    lane=LANE,
    test="component/test_relay.py::test_lost_acknowledgement_has_no_second_effect",
)
async def partition(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """Between a service and the broker, in one direction or in both."""
    proxy = shop.proxies[shop.any_service(draw)]
    gates = draw.choice([[proxy.to_server], [proxy.to_client], [proxy.to_server, proxy.to_client]])
    for gate in gates:
        gate.clear()
    try:
        yield
    finally:
        for gate in gates:
            gate.set()


@fault(
    kind="partition",
    lane=LANE,
    test="component/test_broker.py::test_permanently_closed_connection_ends_process",
)
async def connection_refused_for_good(shop: ChaosShop, draw: random.Random) -> AsyncIterator[None]:
    """The broker answers with an error after which a client does not connect again: its process ends."""
    shop.proxies[shop.any_service(draw)].send(b"-ERR 'maximum subscriptions exceeded'\r\n")
    yield


async def _offline(shop: ChaosShop, draw: random.Random, change: Callable[[], object]) -> None:
    """Change the store while the broker is down."""
    shop.broker.kill()
    change()
    await asyncio.sleep(draw.uniform(0, MAX_DOWN_SECONDS))
    shop.broker.restart()
