"""How long a sign-in and other requests take while many customers register at once."""

import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from bench.load import Unexpected, connect, get, post
from bench.processes import running_shop
from bench.table import print_machine, print_table
from shared.settings import ShopSettings

REGISTRATIONS = 60
HEAD_START_SECONDS = 0.2


async def main() -> None:
    print_machine()
    with (
        tempfile.TemporaryDirectory(prefix="quadrille-bench-") as directory,
        running_shop(Path(directory)) as (settings, _),
    ):
        alone = await timed(settings, sign_in(settings))
        registrations = asyncio.gather(
            *(register(settings, number) for number in range(REGISTRATIONS))
        )
        await asyncio.sleep(HEAD_START_SECONDS)
        during, live = await asyncio.gather(
            timed(settings, sign_in(settings)), slowest(settings, registrations)
        )
        taken = sum(await registrations)
    print_table(
        f"{REGISTRATIONS} registrations at once, {taken} of them accepted, and one sign-in",
        ["request", "seconds"],
        [
            ["sign-in alone", alone],
            ["sign-in during the registrations", during],
            ["slowest /health/live during the registrations", live],
        ],
    )


def sign_in(settings: ShopSettings) -> bytes:
    admin = {"email": settings.admin_email, "password": settings.admin_password}
    return post("/auth/login", admin)


async def register(settings: ShopSettings, number: int) -> bool:
    """Whether the customer was accepted."""
    customer = {"email": f"customer{number}@example.com", "password": "correct horse"}
    connection = await connect(settings.order_port)
    try:
        await connection.ask(post("/auth/register", customer), b"201")
    except Unexpected:
        return False
    return True


async def timed(settings: ShopSettings, request: bytes) -> float:
    connection = await connect(settings.order_port)
    start = time.perf_counter()
    await connection.ask(request)
    return time.perf_counter() - start


async def slowest(settings: ShopSettings, registrations: asyncio.Future[list[bool]]) -> float:
    """The longest time of a request that needs no password."""
    longest = 0.0
    while not registrations.done():
        longest = max(longest, await timed(settings, get("/health/live")))
        await asyncio.sleep(0.01)
    return longest


if __name__ == "__main__":
    uvloop.run(main())
