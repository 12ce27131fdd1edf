"""The three outcomes of an order's saga, for a shop in processes or containers and any way to place an order."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import uuid4

from tests.support.shop_client import Json
from tests.support.shop_expectations import ShopExpectations

STOCK = 10
"""Of the product that is ordered."""


class SagaOutcome(NamedTuple):
    """An order, and what becomes of it."""

    status: str
    quantity: int
    success_rate: float
    """The carrier's."""
    sold: int
    mails: int
    events: tuple[str, ...]
    check: Callable[[Json], None]
    """Of the order in the read API."""

    def __str__(self) -> str:
        return self.status


def _check_completed(order: Json) -> None:
    assert order["trackingNumber"]
    assert order["trackingNumber"] == order["shipment"]["trackingNumber"]
    assert order["shipment"]["status"] == "COMPLETED"


def _check_cancelled(order: Json) -> None:
    assert order["reason"] == "NO_STOCK"
    [short] = order["failedItems"]
    assert (short["requestedQuantity"], short["availableQuantity"]) == (20, STOCK)
    assert order["shipment"] is None


def _check_failed(order: Json) -> None:
    assert order["shipment"]["status"] == "FAILED"


SHIPPED = ("OrderCreated", "StockReserved", "OrderConfirmed", "ShipmentInitiated")
DELIVERED = ("ShipmentCompleted", "StockDeducted", "OrderCompleted")
OUTCOMES = (
    SagaOutcome(
        "COMPLETED",
        quantity=2,
        success_rate=1,
        sold=2,
        mails=3,
        events=(*SHIPPED, "ShipmentDispatched", "OrderShipped", *DELIVERED),
        check=_check_completed,
    ),
    SagaOutcome(
        "CANCELLED_NO_STOCK",
        quantity=20,
        success_rate=1,
        sold=0,
        mails=2,
        events=("OrderCreated", "StockReservationFailed", "OrderCancelled"),
        check=_check_cancelled,
    ),
    SagaOutcome(
        "SHIPMENT_FAILED",
        quantity=3,
        success_rate=0,
        sold=0,
        mails=2,
        events=(*SHIPPED, "ShipmentFailed", "StockReleased", "OrderFailed"),
        check=_check_failed,
    ),
)
RESERVATIONS = {"COMPLETED": "DEDUCTED", "SHIPMENT_FAILED": "RELEASED"}


async def assert_outcome(
    shop: ShopExpectations,
    outcome: SagaOutcome,
    order: Callable[[tuple[str, int], str], Awaitable[str]] | None = None,
) -> None:
    """Place the order, and wait until services, read API and mailbox agree on its outcome.

    `order` gets a line and an e-mail address and returns the order's id; without it a guest orders by HTTP.
    """
    product_id = f"p{uuid4().hex}"
    await shop.stock_up(**{product_id: STOCK})
    line = (product_id, outcome.quantity)
    email = f"{uuid4().hex}@example.com"
    with shop.carrier(success_rate=outcome.success_rate):
        if order:
            order_id = await order(line, email)
        else:
            order_id = shop.guest.order(line, email=email)["orderId"]
        outcome.check(await shop.until(order_id, outcome.status))
    await shop.until_timeline(order_id, *outcome.events)
    await shop.until_stock(product_id, on_hand=STOCK - outcome.sold, reserved=0)
    await shop.until_mailed(email, outcome.mails)
    assert shop.status(order_id) == outcome.status
    if reservation := RESERVATIONS.get(outcome.status):
        document = shop.admin.show("read", f"/orders/{order_id}")
        assert document["reservation"]["status"] == reservation
