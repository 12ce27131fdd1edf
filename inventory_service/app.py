"""The inventory service, put together."""

from litestar import Litestar

from inventory_service import api
from inventory_service.domain import decide, evolve
from inventory_service.handlers import SUBSCRIPTIONS
from inventory_service.store import METADATA, load, save
from shared.chassis.messages.decider import Decider, no_tasks
from shared.chassis.runtime.service import Service
from shared.settings import Settings


def build(settings: Settings) -> Litestar:
    """The application; nothing runs yet."""
    decider = Decider(
        load=load,
        decide=decide,
        evolve=evolve,
        save=save,
        schedule=no_tasks,
        subscriptions=SUBSCRIPTIONS,
    )
    service = Service("inventory", settings, decider, METADATA)
    routes = [api.catalogue_router(service), api.reservations_router(service)]
    return service.app("Quadrille: inventory", routes)
