"""A process that `shared.chassis.runtime.process.run` serves as it serves every service and the mailbox, with routes that show what arrived.

python -m tests.support.echo_service
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.datastructures import State
from litestar.response import ServerSentEvent

from shared.chassis.http.client_address import client_address
from shared.chassis.http.problems import ProblemDetails
from shared.chassis.runtime.process import run
from shared.settings import ShopSettings, load

TICK_SECONDS = 0.1


@get("/")
async def show(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"address": client_address(request), "scheme": request.url.scheme}


@post("/", status_code=200)
async def count(request: Request[Any, Any, Any]) -> dict[str, int]:
    return {"bytes": len(await request.body())}


@get("/stream")
async def stream() -> ServerSentEvent:
    async def ticks() -> AsyncIterator[str]:
        while True:
            yield "tick"
            await asyncio.sleep(TICK_SECONDS)

    return ServerSentEvent(ticks())


def build(_: ShopSettings) -> Litestar:
    return Litestar(
        route_handlers=[show, count, stream],
        plugins=[ProblemDetails()],
        state=State({"on_stopping": None}),
    )


if __name__ == "__main__":
    run("echo", load, lambda settings: settings.order_port, build)
