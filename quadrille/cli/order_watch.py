"""Following one order live, until everything that follows from it is done."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from quadrille.cli.api_client import Client, Message, run_async
from quadrille.cli.endpoints import ShopError, segment
from quadrille.cli.invoice import show_order
from quadrille.cli.output import echo, echo_json, echo_line, echo_raw_json, status_style
from quadrille.cli.timeline import EventDocument, timeline_line
from shared.settings import Settings

ENDED_OTHERWISE = 1
LOST = 3

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


class WatchTimeoutError(ShopError):
    """What was asked for was accepted, but the order can not be watched to its end."""

    exit_code = LOST


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


def accepted(
    client: Client,
    settings: Settings,
    order: dict[str, Any],
    hoped: str,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Show the order as the shop accepted it, and what follows where that is wanted.

    Does not return from watching: the exit code says whether the order ended as hoped.
    """
    if not as_json:
        show_order(order)
    elif not watch:
        echo_json(order)
    if watch:
        _watch_to_end(client, settings, order, hoped, as_json=as_json)


def _watch_to_end(
    client: Client, settings: Settings, order: dict[str, Any], hoped: str, *, as_json: bool
) -> NoReturn:
    echo("") if not as_json else None
    try:
        saga = run_async(_watch(client, order, _longest_deadline(settings), as_json=as_json))
        if as_json:
            echo_json(client.get("read", f"/orders/{segment(order['orderId'])}"))
    except ShopError as error:
        raise WatchTimeoutError(error.message) from error
    if not as_json:
        _show_end(saga)
    if saga.status is None:
        sys.exit(LOST)
    sys.exit(0 if saga.status == hoped else ENDED_OTHERWISE)


def _longest_deadline(settings: Settings) -> float:
    own = (
        settings.order_timeout_pending_seconds,
        settings.order_timeout_awaiting_shipment_seconds,
        settings.order_timeout_cancelling_seconds,
    )
    return max(settings.order_timeout_seconds, *(seconds or 0 for seconds in own))


async def _watch(
    client: Client, order: dict[str, Any], order_timeout_seconds: float, *, as_json: bool
) -> Saga:
    """Show the order's events until it is final and all that follows from it is done, or time is up."""
    saga = Saga()
    start = datetime.fromisoformat(order["createdAt"])
    now = asyncio.get_running_loop().time
    silence_seconds = order_timeout_seconds + GRACE_SECONDS
    path = f"/orders/{segment(order['orderId'])}/stream"
    stream = client.follow("read", path, is_awaited=True)
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
                echo_raw_json(message.data)
            else:
                echo_line(timeline_line(event, start))
            yield event


def _show_end(saga: Saga) -> None:
    echo("")
    if saga.status is None:
        echo("It has said nothing for too long, and is not finished.", "yellow")
        return
    echo(saga.status, status_style(saga.status))
    if saga.awaits:
        echo(f"Still waiting for {' and '.join(saga.awaits)}.", "yellow")
