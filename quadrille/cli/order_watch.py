"""Follows the events of one order until it is final and its stock and mails are settled."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import NoReturn

import msgspec
from httpx_sse import ServerSentEvent

from quadrille.cli.api_client import Client, run_async
from quadrille.endpoints import Json, ShopError, segment
from quadrille.output import (
    EventDocument,
    echo,
    echo_json,
    echo_line,
    print_order,
    status_style,
    timeline_line,
)
from shared.contracts.order import OrderStatus
from shared.settings import ShopSettings

EXIT_OTHER_STATUS = 1
EXIT_END_NOT_SEEN = 3

GRACE_SECONDS = 60
"""An open order has another event by its deadline, or at most this much later."""
SETTLE_TIMEOUT_SECONDS = 10
"""For the stock and mail events of a final order."""

FINAL_STATUS = {"OrderCompleted": "COMPLETED", "OrderFailed": "SHIPMENT_FAILED"}
CANCELLED_STATUS = {"NO_STOCK": "CANCELLED_NO_STOCK", "EXPIRED": "EXPIRED", "CUSTOMER": "CANCELLED"}
SETTLES_STOCK = {"StockDeducted", "StockReleased", "StockWrittenOff", "StockReservationFailed"}
MAILED = {"OrderCreated", "ShipmentDispatched", "OrderCompleted", "OrderCancelled", "OrderFailed"}
DELIVERY_OVERDUE = "DeliveryOverdue"
"""After it nothing happens until the carrier reports or an operator settles the shipment."""
MAIL_OUTCOMES = {"NotificationSent", "NotificationFailed", "NotificationSkipped"}


class WatchError(ShopError):
    """The request was accepted, but the order cannot be watched to its end."""

    exit_code = EXIT_END_NOT_SEEN


class Saga:
    """The state of an order after the events so far, and which events must still follow."""

    def __init__(self) -> None:
        self.final_status: str | None = None
        self._types: list[str] = []

    def apply(self, event: EventDocument) -> None:
        self._types.append(event.type)
        if event.type == "OrderCancelled":
            self.final_status = CANCELLED_STATUS[event.data["reason"]]
        else:
            self.final_status = FINAL_STATUS.get(event.type, self.final_status)

    @property
    def missing(self) -> list[str]:
        """What must still follow a final order, in words."""
        missing = []
        if SETTLES_STOCK.isdisjoint(self._types):
            missing.append("its stock")
        mails = sum(event_type in MAILED for event_type in self._types)
        if sum(event_type in MAIL_OUTCOMES for event_type in self._types) < mails:
            missing.append("its mails")
        return missing


def print_or_watch(
    client: Client, order: Json, success: str, *, watch: bool, as_json: bool
) -> None:
    """Print an order that the shop has accepted, and with `watch` its events.

    With `watch` it does not return: the exit code is 0 if the order ended with the status `success`.
    """
    if not as_json:
        print_order(order)
    elif not watch:
        echo_json(order)
    if watch:
        _watch_to_end(client, order, success, as_json=as_json)


def _watch_to_end(client: Client, order: Json, success: str, *, as_json: bool) -> NoReturn:
    if not as_json:
        echo("")
    try:
        saga = run_async(_watch(client, order, as_json=as_json))
        if as_json:
            echo_json(client.get("read", f"/orders/{segment(order['orderId'])}"))
    except ShopError as error:
        raise WatchError(error.message) from error
    if not as_json:
        _print_end(saga)
    if saga.final_status is None:
        sys.exit(EXIT_END_NOT_SEEN)
    sys.exit(0 if saga.final_status == success else EXIT_OTHER_STATUS)


async def _watch(client: Client, order: Json, *, as_json: bool) -> Saga:
    """Print the order's events until it is final and settled, or time is up."""
    saga = Saga()
    now = asyncio.get_running_loop().time
    open_seconds = _longest_timeout(client.settings) + GRACE_SECONDS
    # The read API may receive the order's first event only after we ask for it.
    stream = client.follow("read", f"/orders/{segment(order['orderId'])}/stream", is_awaited=True)
    start = datetime.fromisoformat(order["createdAt"])
    try:
        async with asyncio.timeout(open_seconds) as deadline, aclosing(stream) as messages:
            async for event in _printed(messages, start, as_json=as_json):
                was_open = saga.final_status is None
                saga.apply(event)
                if event.type == DELIVERY_OVERDUE or (saga.final_status and not saga.missing):
                    break
                if was_open:
                    seconds = SETTLE_TIMEOUT_SECONDS if saga.final_status else open_seconds
                    deadline.reschedule(now() + seconds)
    except TimeoutError:
        pass
    return saga


def _longest_timeout(settings: ShopSettings) -> float:
    """The longest time that an order stays in one status."""
    return max(
        settings.order_timeout_seconds,
        settings.order_timeout_pending_seconds or 0,
        settings.order_timeout_awaiting_shipment_seconds or 0,
        settings.order_timeout_cancelling_seconds or 0,
        settings.order_timeouts[OrderStatus.SHIPPED],
    )


async def _printed(
    messages: AsyncIterator[ServerSentEvent], start: datetime, *, as_json: bool
) -> AsyncIterator[EventDocument]:
    """The events of these messages, each after it was printed."""
    async for message in messages:
        if not message.data:  # a stream opens with an id only
            continue
        event = msgspec.json.decode(message.data, type=EventDocument)
        if as_json:
            echo_json(msgspec.Raw(message.data))
        else:
            echo_line(timeline_line(event, start))
        yield event


def _print_end(saga: Saga) -> None:
    echo("")
    if saga.final_status is None:
        echo("No further event arrived in time; the order is still open.", "yellow")
        return
    echo(saga.final_status, status_style(saga.final_status))
    if saga.missing:
        echo(f"Timed out waiting for the events of {' and '.join(saga.missing)}.", "yellow")
