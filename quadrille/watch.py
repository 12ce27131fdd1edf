"""Following one order live, until everything that follows from it is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import click
import msgspec

from quadrille.client import Client, Message
from quadrille.story import EventDocument, told
from quadrille.terminal import console

GRACE_SECONDS = 60
"""An open order says something by its deadline, or soon after; one that does not is lost sight of."""
SETTLE_SECONDS = 10
"""How long a finished order's stock and mails are waited for."""

END_OF = {"OrderCompleted": "COMPLETED", "OrderFailed": "SHIPMENT_FAILED"}
END_OF_CANCELLED = {"NO_STOCK": "CANCELLED_NO_STOCK", "EXPIRED": "EXPIRED", "CUSTOMER": "CANCELLED"}
SETTLES_STOCK = {"StockDeducted", "StockReleased", "StockReservationFailed"}
OWES_A_MAIL = {
    "OrderCreated",
    "ShipmentInitiated",
    "OrderCompleted",
    "OrderCancelled",
    "OrderFailed",
}
IS_A_MAIL = {"NotificationSent", "NotificationFailed", "NotificationSkipped"}


class Saga:
    """What has been heard of one order, and whether more is to come."""

    def __init__(self) -> None:
        self.status: str | None = None
        """Its end; None while there is none."""
        self._types: list[str] = []

    def hear(self, event: EventDocument) -> None:
        """Take note."""
        self._types.append(event.type)
        if event.type == "OrderCancelled":
            self.status = END_OF_CANCELLED[event.data["reason"]]
        else:
            self.status = END_OF.get(event.type, self.status)

    @property
    def awaits(self) -> list[str]:
        """What is still to come of a finished order, in words."""
        missing = []
        if SETTLES_STOCK.isdisjoint(self._types):
            missing.append("its stock to be settled")
        owed = sum(kind in OWES_A_MAIL for kind in self._types)
        if sum(kind in IS_A_MAIL for kind in self._types) < owed:
            missing.append("its mails")
        return missing


async def watch_order(
    client: Client, placed: dict[str, Any], deadline_seconds: float, *, as_json: bool
) -> Saga:
    """Show the order's events until it is final and all that follows from it is done, or time is up."""
    saga = Saga()
    start = datetime.fromisoformat(placed["createdAt"])
    now = asyncio.get_running_loop().time
    silence_seconds = deadline_seconds + GRACE_SECONDS
    stream = client.follow("read", f"/orders/{placed['orderId']}/stream")
    try:
        async with asyncio.timeout(silence_seconds) as patience, aclosing(stream) as messages:
            async for event in _told(messages, start, as_json=as_json):
                was_open = saga.status is None
                saga.hear(event)
                if saga.status and not saga.awaits:
                    break
                if was_open:
                    patience.reschedule(
                        now() + (SETTLE_SECONDS if saga.status else silence_seconds)
                    )
    except TimeoutError:
        pass
    return saga


async def _told(
    messages: AsyncIterator[Message], start: datetime, *, as_json: bool
) -> AsyncIterator[EventDocument]:
    """The events, each as it is shown."""
    async for message in messages:
        if message.data:
            event = msgspec.json.decode(message.data, type=EventDocument)
            if as_json:
                click.echo(message.data)
            else:
                console().print(told(event, start), soft_wrap=True)
            yield event
