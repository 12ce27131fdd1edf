"""The inventory service, put together."""

from litestar import Litestar

from inventory_service import api
from inventory_service.domain import Command, InventoryState, decide, evolve
from inventory_service.handlers import SUBSCRIPTIONS
from inventory_service.store import METADATA, STORE, derived_tables
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.contracts import CATALOG, OrderNudged
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings

LOGIC: ServiceLogic[InventoryState, Command] = ServiceLogic(
    decider=Decider(initial=InventoryState(), decide=decide, evolve=evolve),
    store=STORE,
    subscriptions=SUBSCRIPTIONS,
    nudges=(OrderNudged,),
)


API = ApiDescription(
    description="Knows the catalogue, its stock, and what is reserved for orders.",
    port=ShopSettings().inventory_port,
    tags={
        "catalogue": "Products and their stock.",
        "reservations": "Stock that is reserved for orders: for admins.",
    },
    examples=EXAMPLES,
)


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs yet."""
    service = Service(
        "inventory", settings, LOGIC, METADATA, derived=derived_tables, catalog=CATALOG
    )
    return service.app("Quadrille: inventory", api.ROUTES, api=API)
