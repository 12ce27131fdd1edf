"""The answer to requests that are cancelled because the process must end before they are done."""

import asyncio

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from shared.chassis.http.policy import send_problem

DETAIL = "the service stops; if this was to change something, it may have: repeat it with the same Idempotency-Key"


def answering_cancelled(app: ASGIApp) -> ASGIApp:
    """The application, whose cancelled requests are answered 503: uvicorn would answer 500, which invites no retry."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_noting(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await app(scope, receive, send_noting)
        except asyncio.CancelledError:
            if has_started or scope["type"] != ScopeType.HTTP:
                raise
            await send_problem(send, "busy", DETAIL)

    return answering
