"""Shipments and their carriers over HTTP."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Controller, Response, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, SkipValidation
from msgspec import Meta
from msgspec.structs import replace
from sqlalchemy import bindparam, or_, select

from shared.chassis.http.auth import admin_only, operators_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.entity_tags import (
    HAS_TAG,
    IfMatch,
    entity_tag,
    require_match,
    tagged,
    unchanged,
)
from shared.chassis.http.problems import BadRequest, FieldError, responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest, decode_body
from shared.chassis.messages import actor
from shared.chassis.messages.event import Id
from shared.chassis.messages.plain_text import LINE
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.storage.idempotency import Reply
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import all_as_json, view_as_json
from shared.contracts import Address, LineItem
from shipping_service.carriers import Carrier, Carriers
from shipping_service.carriers.simulated import SimulatedCarrier, Simulation
from shipping_service.domain import (
    Command,
    CompleteShipment,
    FailShipment,
    Settlement,
    SettleShipment,
    Shipment,
    ShipmentStatus,
    ShippingState,
)
from shipping_service.store import SHIPMENT_ITEMS, SHIPMENTS

Shipping = NamedDependency[Service[ShippingState, Command]]
FromCarriers = NamedDependency[SkipValidation[Carriers]]
Signature = Annotated[str, HeaderParameter(name="X-Signature")]


class ShipmentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order's shipment."""

    order_id: str
    shipment_id: str | None
    status: ShipmentStatus
    carrier: str | None
    items: Sequence[LineItem]
    shipping_address: Address | None
    reference: str | None
    tracking_number: str | None
    reason: str | None
    note: str | None
    created_at: datetime
    updated_at: datetime


class CarrierReport(RequestBody, frozen=True, kw_only=True):
    """How a booking ended, as the carrier reports it."""

    shipment_id: Id
    status: Literal["delivered", "failed"]
    tracking_number: Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE)] | None = None
    reason: Annotated[str, Meta(max_length=500, pattern=LINE)] | None = None


class SettledShipment(RequestBody, frozen=True, kw_only=True):
    """What became of a parcel, as the shop learned it."""

    outcome: Settlement
    note: Annotated[str, Meta(max_length=500, pattern=LINE)] | None = None


_SHIPMENT = select(
    view_as_json(
        ShipmentView,
        SHIPMENTS,
        items=all_as_json(
            LineItem,
            SHIPMENT_ITEMS,
            SHIPMENT_ITEMS.c.order_id == SHIPMENTS.c.order_id,
            SHIPMENT_ITEMS.c.line,
        ),
    )
).where(SHIPMENTS.c.order_id == bindparam("order_id"))
_ORDER_OF_SHIPMENT = select(SHIPMENTS.c.order_id).where(
    SHIPMENTS.c.shipment_id == bindparam("shipment_id"),
    or_(SHIPMENTS.c.carrier.is_(None), SHIPMENTS.c.carrier == bindparam("carrier")),
)


def shipment_view(shipment: Shipment) -> ShipmentView:
    """A shipment as the API shows it."""
    return msgspec.convert(shipment, ShipmentView, from_attributes=True)


@get(
    "/shipments/{order_id:str}",
    guards=[operators_only],
    opt=HAS_TAG,
    responses=responses("unknown-shipment"),
    tags=["shipments"],
)
async def show_shipment(
    order_id: FromPath[str], reader: NamedDependency[Reader]
) -> Response[ShipmentView]:
    """The shipment of an order."""
    shipment = await reader.find_view(ShipmentView, _SHIPMENT, order_id=order_id)
    if shipment is None:
        raise Rejected("unknown-shipment", f"there is no shipment of order {order_id}")
    return tagged(shipment)


@post(
    "/shipments/{order_id:str}/settle",
    status_code=200,
    guards=[operators_only],
    opt=HAS_TAG,
    responses={
        200: ResponseSpec(ShipmentView, description="Ended"),
        **responses(
            "unknown-shipment", "shipment-not-dispatched", "shipment-ended", "precondition-failed"
        ),
    },
    tags=["shipments"],
)
async def settle_shipment(
    request: ServiceRequest,
    order_id: FromPath[str],
    data: JSONBody[SettledShipment],
    service: Shipping,
    if_match: IfMatch = None,
) -> Response[bytes]:
    """End a dispatched shipment whose carrier reports nothing more: delivered, lost or returned.

    What was lost is written off, what was returned comes back into stock. The note is for the shop only.
    """
    command = SettleShipment(order_id=order_id, outcome=data.outcome, note=data.note)

    def current(state: ShippingState) -> ShipmentView | None:
        shipment = state.shipments.get(order_id)
        return None if shipment is None else shipment_view(shipment)

    precondition = unchanged(if_match, current)
    reply = _reply(order_id)
    return await service.commands.execute(request, command, reply, precondition=precondition)


class CarrierController(Controller):
    """The callbacks of carriers, and the behaviour of the simulated one."""

    path = "/carriers"
    tags = ("carriers",)

    @post(
        "/{name:str}/callbacks",
        status_code=200,
        responses={
            200: ResponseSpec(ShipmentView),
            **responses("bad-signature", "unknown-carrier", "unknown-shipment"),
        },
    )
    async def receive_callback(
        self,
        request: ServiceRequest,
        name: FromPath[str],
        service: Shipping,
        carriers: FromCarriers,
        signature: Signature = "",
    ) -> Response[bytes]:
        """The carrier calls back; `X-Signature: sha256=<HMAC-SHA256 of the body, in hex>`."""
        carrier = _active(carriers, name)
        if carrier is None:
            raise Rejected("unknown-carrier", f"there is no carrier {name}")
        body = await request.body()
        if not carrier.has_signed(body, signature):
            raise Rejected("bad-signature", "X-Signature is not the carrier's")
        report = decode_body(body, CarrierReport)
        rows = await service.reader.fetch(
            _ORDER_OF_SHIPMENT, shipment_id=report.shipment_id, carrier=name
        )
        if not rows:
            raise Rejected("unknown-shipment", f"there is no shipment {report.shipment_id}")
        order_id: str = rows[0].order_id
        command = _command_for(report, order_id)
        return await service.commands.execute(
            request, command, _reply_to_carrier(order_id), actor=actor.carrier(carrier.name)
        )

    @get("/simulated", guards=[admin_only], opt=HAS_TAG, responses=responses("unknown-carrier"))
    async def show_simulation(self, carriers: FromCarriers) -> Response[Simulation]:
        """How the simulated carrier behaves."""
        return tagged(_simulated(carriers).simulation)

    @put(
        "/simulated",
        guards=[admin_only],
        opt=HAS_TAG,
        responses=responses("unknown-carrier", "precondition-failed"),
    )
    async def change_simulation(
        self, data: JSONBody[Simulation], carriers: FromCarriers, if_match: IfMatch = None
    ) -> Response[Simulation]:
        """Change its behaviour, from the next shipment until the service is restarted."""
        if data.min_delay_seconds > data.max_delay_seconds:
            raise BadRequest(
                FieldError(field="minDelaySeconds", message="greater than maxDelaySeconds")
            )
        simulated = _simulated(carriers)
        require_match(if_match, simulated.simulation)
        simulated.simulation = data
        return tagged(data)


def _active(carriers: Carriers, name: str) -> Carrier | None:
    """The simulated carrier is inactive when another one is chosen: it only ends the shipments that it has."""
    is_inactive = name == SimulatedCarrier.name and carriers.chosen != name
    return None if is_inactive else carriers.by_name.get(name)


def _simulated(carriers: Carriers) -> SimulatedCarrier:
    carrier = _active(carriers, SimulatedCarrier.name)
    if not isinstance(carrier, SimulatedCarrier):
        raise Rejected("unknown-carrier", f"the carrier is {carriers.chosen}")
    return carrier


def _command_for(report: CarrierReport, order_id: str) -> CompleteShipment | FailShipment:
    if report.status == "failed":
        return FailShipment(order_id=order_id, reason=report.reason or "CARRIER_FAILED")
    if report.tracking_number is None:
        raise BadRequest(FieldError(field="trackingNumber", message="required when delivered"))
    return CompleteShipment(order_id=order_id, tracking_number=report.tracking_number)


def _reply(order_id: str) -> Callable[[ShippingState], Reply]:
    """Responds with the shipment as it is right after the command."""

    def respond(state: ShippingState) -> Reply:
        shipment = shipment_view(state.shipments[order_id])
        return json_reply(200, shipment, etag=entity_tag(shipment))

    return respond


def _reply_to_carrier(order_id: str) -> Callable[[ShippingState], Reply]:
    """As `_reply`, without the shop's note."""
    return lambda state: json_reply(
        200, shipment_view(replace(state.shipments[order_id], note=None))
    )


ROUTES = (show_shipment, settle_shipment, CarrierController)
