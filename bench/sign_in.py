"""How long one sign-in waits while many register at once, and how long everything else waits meanwhile."""

import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from bench.load import Unexpected, connect, get, post
from bench.processes import running_shop
from bench.table import show, show_machine
from shared.settings import Settings

REGISTRATIONS = 60
HEAD_START_SECONDS = 0.2


async def main() -> None:
    """Measure, and print."""
    show_machine()
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-") as directory,
        running_shop(Path(directory)) as (settings, _),
    ):
        alone = await timed(settings, sign_in(settings))
        storm = asyncio.gather(*(register(settings, number) for number in range(REGISTRATIONS)))
        await asyncio.sleep(HEAD_START_SECONDS)
        beside, live = await asyncio.gather(
            timed(settings, sign_in(settings)), slowest(settings, storm)
        )
        taken = sum(await storm)
    show(
        f"{REGISTRATIONS} registrations at once, {taken} of them accepted, then one sign-in",
        ["", "seconds"],
        [
            ["sign-in alone", alone],
            ["sign-in beside the registrations", beside],
            ["/health/live meanwhile, the slowest", live],
        ],
    )


def sign_in(settings: Settings) -> bytes:
    """The admin's."""
    admin = {"email": settings.admin_email, "password": settings.admin_password}
    return post("/auth/login", admin)


async def register(settings: Settings, number: int) -> bool:
    """Whether the customer was accepted."""
    customer = {"email": f"customer{number}@example.com", "password": "correct horse"}
    door = await connect(settings.order_port)
    try:
        await door.ask(post("/auth/register", customer), b"201")
    except Unexpected:
        return False
    return True


async def timed(settings: Settings, request: bytes) -> float:
    """How long the answer took."""
    door = await connect(settings.order_port)
    start = time.perf_counter()
    await door.ask(request)
    return time.perf_counter() - start


async def slowest(settings: Settings, storm: asyncio.Future[list[bool]]) -> float:
    """The longest that a request took which needs no password."""
    longest = 0.0
    while not storm.done():
        longest = max(longest, await timed(settings, get("/health/live")))
        await asyncio.sleep(0.01)
    return longest


if __name__ == "__main__":
    uvloop.run(main())
