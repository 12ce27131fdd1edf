"""Shipments, newest first."""

from datetime import datetime

from sqlalchemy import select

from read_api.models import ShipmentStatus
from read_api.schemas import ShipmentPage, ShipmentView
from read_api.tables import SHIPMENTS
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import view_as_json

_SHIPMENTS = select(view_as_json(ShipmentView, SHIPMENTS))
_NEWEST_FIRST = Keyset(
    tuple[datetime, str], SHIPMENTS.c.created_at.desc(), SHIPMENTS.c.order_id.desc()
)


async def list_shipments(
    reader: Reader, status: ShipmentStatus | None, cursor: str | None, limit: int
) -> ShipmentPage:
    """All of them, or those with this status."""
    query = _SHIPMENTS if status is None else _SHIPMENTS.where(SHIPMENTS.c.status == status)
    return page_of(
        await reader.fetch_views(ShipmentView, _NEWEST_FIRST.select(query, cursor, limit)),
        limit,
        lambda shipment: shipment,
        lambda shipment: to_cursor(shipment.created_at, shipment.order_id),
    )
