"""What shipping does on hearing the others, and how a shipment gets to its carrier."""

from collections.abc import Callable, Iterable

from shared.clock import new_id
from shared.contracts import (
    OrderCancellationRequested,
    OrderCreated,
    ShipmentCancelled,
    ShipmentInitiated,
    StockReserved,
)
from shared.contracts.recorded import Recorded
from shared.decider import on
from shared.jobs import Job, Retry
from shared.task import Change, Drop, Schedule, Task
from shipping_service.carriers import Carrier, Declined, Delivered
from shipping_service.domain import (
    CancelShipment,
    CompleteShipment,
    Dock,
    FailShipment,
    StartShipment,
)

BOOKING = "booking"


def start_shipment(known: OrderCreated | StockReserved) -> StartShipment:
    """One more thing is known of the order; perhaps it was the last."""
    return StartShipment(order_id=known.order_id, shipment_id=new_id())


def cancel_shipment(requested: OrderCancellationRequested) -> CancelShipment:
    """Somebody, or the clock, wants it stopped."""
    return CancelShipment(order_id=requested.order_id, reason=requested.reason)


def bookings(carrier: Carrier) -> Callable[[Dock, Recorded], Iterable[Change]]:
    """A shipment begun is booked when the carrier wants it; a cancelled one no more."""

    def follow_up(_dock: Dock, recorded: Recorded) -> Iterable[Change]:
        match recorded.event:
            case ShipmentInitiated(order_id=order_id):
                delay = carrier.delay_seconds(order_id)
                return (Schedule(kind=BOOKING, key=order_id, delay_seconds=delay),)
            case ShipmentCancelled(order_id=order_id):
                return (Drop(kind=BOOKING, key=order_id),)
            case _:
                return ()

    return follow_up


def booking_job(carrier: Carrier, attempts: int) -> Job:
    """Ask the carrier until it answers; it answers never, the shipment fails."""

    async def book(due: Task) -> CompleteShipment | FailShipment:
        match await carrier.book(due.key, due.attempts):
            case Delivered(tracking_number=tracking_number):
                return CompleteShipment(order_id=due.key, tracking_number=tracking_number)
            case Declined(reason=reason):
                return FailShipment(order_id=due.key, reason=reason)

    def give_up(due: Task, _error: str) -> FailShipment:
        return FailShipment(order_id=due.key, reason="CARRIER_UNAVAILABLE")

    return Job(BOOKING, book, give_up, Retry(attempts=attempts))


REACTIONS = (
    on(OrderCreated, start_shipment),
    on(StockReserved, start_shipment),
    on(OrderCancellationRequested, cancel_shipment),
)
