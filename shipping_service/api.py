"""Shipments and their carriers over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from shared.chassis.http.auth import admin_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest, decode_body
from shared.chassis.messages.event import Id
from shared.chassis.messages.plain_text import LINE
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.contracts import LineItem
from shipping_service import store
from shipping_service.carriers import Carrier
from shipping_service.carriers.simulated import SimulatedCarrier, Simulation
from shipping_service.domain import CompleteShipment, FailShipment, Shipment, ShippingState, Status


class ShipmentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order's shipment."""

    order_id: str
    shipment_id: str | None
    status: Status
    items: Sequence[LineItem]
    shipping_address: dict[str, str] | None
    reference: str | None
    tracking_number: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


class CarrierReport(RequestBody, frozen=True, kw_only=True):
    """How a booking ended, in the carrier's word."""

    shipment_id: Id
    status: Literal["delivered", "failed"]
    tracking_number: Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE)] | None = None
    reason: Annotated[str, Meta(max_length=500, pattern=LINE)] | None = None


def view(shipment: Shipment) -> ShipmentView:
    """What is shown of a shipment."""
    return msgspec.convert(shipment, ShipmentView, from_attributes=True)


def shipments_router(service: Service) -> Router:
    """What becomes of each order's goods."""

    @get("/{order_id:str}", guards=[admin_only], responses=responses(401, 403, 404))
    async def show_shipment(order_id: FromPath[str]) -> ShipmentView:
        """The shipment of an order."""
        shipment = await service.reads.run(partial(store.SHIPMENT_TABLE.find, entity_id=order_id))
        if shipment is None:
            raise Rejected("unknown-shipment", f"there is no shipment of order {order_id}")
        return view(shipment)

    return Router("/shipments", route_handlers=[show_shipment], tags=["shipments"])


def carriers_router(service: Service, carrier: Carrier) -> Router:
    """What carriers tell us, and how the simulated one behaves."""

    def simulated() -> SimulatedCarrier:
        if not isinstance(carrier, SimulatedCarrier):
            raise Rejected("unknown-carrier", f"the carrier is {carrier.name}")
        return carrier

    @post(
        "/{name:str}/callbacks",
        status_code=200,
        responses={200: ResponseSpec(ShipmentView), **responses(400, 401, 404, 413, 503)},
    )
    async def take_report(
        request: ServiceRequest,
        name: FromPath[str],
        signature: Annotated[str, HeaderParameter(name="X-Signature")] = "",
    ) -> Response[bytes]:
        """The carrier calls back; `X-Signature: sha256=<HMAC-SHA256 of the body, in hex>`."""
        if name != carrier.name:
            raise Rejected("unknown-carrier", f"there is no carrier {name}")
        body = await request.body()
        if not carrier.has_signed(body, signature):
            raise Rejected("bad-signature", "X-Signature is not the carrier's")
        report = decode_body(body, CarrierReport)
        shipment = await service.reads.run(
            partial(store.find_by_shipment, shipment_id=report.shipment_id)
        )
        if shipment is None:
            raise Rejected("unknown-shipment", f"there is no shipment {report.shipment_id}")
        order_id = shipment.order_id
        command = _settlement(order_id, report)
        return await service.commands.execute(request, command, _shown(order_id))

    @get("/simulated", guards=[admin_only], responses=responses(401, 403, 404))
    async def show_simulation() -> Simulation:
        """How the simulated carrier behaves."""
        return simulated().simulation

    @put(
        "/simulated",
        guards=[admin_only],
        responses=responses(400, 401, 403, 404, 413),
    )
    async def change_simulation(data: JSONBody[Simulation]) -> Simulation:
        """Change its behaviour, from the next shipment until the service is restarted."""
        if data.min_delay_seconds > data.max_delay_seconds:
            raise BadRequest(
                FieldError(field="minDelaySeconds", message="greater than maxDelaySeconds")
            )
        simulated().simulation = data
        return data

    return Router(
        "/carriers",
        route_handlers=[take_report, show_simulation, change_simulation],
        tags=["carriers"],
    )


def _settlement(order_id: str, report: CarrierReport) -> CompleteShipment | FailShipment:
    if report.status == "failed":
        return FailShipment(order_id=order_id, reason=report.reason or "CARRIER_FAILED")
    if report.tracking_number is None:
        raise BadRequest(FieldError(field="trackingNumber", message="required when delivered"))
    return CompleteShipment(order_id=order_id, tracking_number=report.tracking_number)


def _shown(order_id: str) -> Callable[[ShippingState], Reply]:
    return lambda dock: json_reply(200, view(dock.shipments[order_id]))
