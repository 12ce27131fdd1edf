"""Stock reserved for orders, from the events of the inventory service."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Reservation, ReservationStatus
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import (
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
    StockWrittenOff,
)

CONSUMES = (StockReserved, StockReservationFailed, StockReleased, StockDeducted, StockWrittenOff)


class Reservations(Struct, frozen=True, kw_only=True):
    """By order id."""

    reservations: Mapping[str, Reservation] = {}


def evolve(state: Reservations, recorded: RecordedEvent) -> Reservations:
    """The reservations after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case StockReserved(order_id=order_id, items=items):
            reservation = Reservation(
                order_id=order_id,
                status=ReservationStatus.RESERVED,
                items=items,
                created_at=at,
                updated_at=at,
            )
        case StockReservationFailed(order_id=order_id):
            reservation = Reservation(
                order_id=order_id,
                status=ReservationStatus.REFUSED,
                reason=event.reason,
                failed_items=event.failed_items,
                created_at=at,
                updated_at=at,
            )
        case (
            StockReleased(order_id=order_id, reason=reason)
            | StockWrittenOff(order_id=order_id, reason=reason)
        ):
            is_lost = isinstance(recorded.event, StockWrittenOff)
            reservation = replace(
                require(state.reservations, order_id),
                status=ReservationStatus.WRITTEN_OFF if is_lost else ReservationStatus.RELEASED,
                reason=reason,
                updated_at=at,
            )
        case StockDeducted(order_id=order_id):
            reservation = replace(
                require(state.reservations, order_id),
                status=ReservationStatus.DEDUCTED,
                updated_at=at,
            )
        case _:
            return state
    return Reservations(reservations={**state.reservations, reservation.order_id: reservation})
