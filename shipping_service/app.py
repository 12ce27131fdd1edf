"""The shipping service, put together."""

from collections.abc import Callable, Mapping

from litestar import Litestar

from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.contracts import CATALOG, OrderNudged
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings
from shipping_service import api
from shipping_service.carriers import Carrier
from shipping_service.carriers.remote import RemoteCarrier
from shipping_service.carriers.simulated import SimulatedCarrier
from shipping_service.domain import Command, ShippingState, decide, evolve
from shipping_service.handlers import SUBSCRIPTIONS, carrier_tasks, schedule_bookings
from shipping_service.store import METADATA, STORE, VERSIONS, derived_tables

CARRIERS: Mapping[str, Callable[[ShopSettings], Carrier]] = {
    "http": RemoteCarrier,
    "simulated": SimulatedCarrier,
}
"""By the setting `CARRIER`."""


def logic(carrier: Carrier) -> ServiceLogic[ShippingState, Command]:
    """The service's rules, with the carrier's delay between a booking and its request."""
    return ServiceLogic(
        decider=Decider(initial=ShippingState(), decide=decide, evolve=evolve),
        store=STORE,
        subscriptions=SUBSCRIPTIONS,
        schedule=schedule_bookings(carrier),
        nudges=(OrderNudged,),
    )


API = ApiDescription(
    description="Books shipments with carriers, and knows how they ended.",
    port=ShopSettings().shipping_port,
    tags={
        "shipments": "Shipments of orders.",
        "carriers": "Callbacks of carriers, and the behaviour of the simulated one.",
    },
    examples=EXAMPLES,
)


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs yet. Raises SettingsError for a carrier with an invalid address."""
    carrier = CARRIERS[settings.carrier](settings)
    task_handlers = carrier_tasks(carrier, settings.carrier_max_attempts)
    service = Service(
        "shipping",
        settings,
        logic(carrier),
        METADATA,
        task_handlers,
        derived=derived_tables,
        versions=VERSIONS,
        catalog=CATALOG,
    )
    app = service.app("Quadrille: shipping", api.ROUTES, dependencies={"carrier": carrier}, api=API)
    app.on_shutdown.append(carrier.close)
    return app
