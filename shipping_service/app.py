"""The shipping service, put together."""

from litestar import Litestar

from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.contracts import CATALOG, OrderNudged
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings
from shipping_service import api
from shipping_service.carriers import Carrier, Carriers
from shipping_service.carriers.remote import RemoteCarrier
from shipping_service.carriers.simulated import SimulatedCarrier
from shipping_service.domain import Command, ShippingState, decide, evolve
from shipping_service.handlers import carrier_tasks, schedule_bookings, subscriptions
from shipping_service.store import METADATA, STORE, VERSIONS, derived_tables


def carriers_of(settings: ShopSettings) -> Carriers:
    """The simulated carrier, and the remote one if it has an address. Raises SettingsError."""
    by_name: dict[str, Carrier] = {SimulatedCarrier.name: SimulatedCarrier(settings)}
    has_remote = settings.carrier_url and settings.carrier_secret
    if has_remote or settings.carrier == RemoteCarrier.name:
        by_name[RemoteCarrier.name] = RemoteCarrier(settings)
    return Carriers(by_name, settings.carrier)


def logic(carriers: Carriers) -> ServiceLogic[ShippingState, Command]:
    """The service's rules, with the carriers' delays."""
    return ServiceLogic(
        decider=Decider(initial=ShippingState(), decide=decide, evolve=evolve),
        store=STORE,
        subscriptions=subscriptions(carriers.chosen),
        schedule=schedule_bookings(carriers),
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
    carriers = carriers_of(settings)
    task_handlers = carrier_tasks(carriers, settings.carrier_max_attempts)
    service = Service(
        "shipping",
        settings,
        logic(carriers),
        METADATA,
        task_handlers,
        derived=derived_tables,
        versions=VERSIONS,
        catalog=CATALOG,
    )
    app = service.app(
        "Quadrille: shipping", api.ROUTES, dependencies={"carriers": carriers}, api=API
    )
    app.on_shutdown.append(carriers.close)
    return app
