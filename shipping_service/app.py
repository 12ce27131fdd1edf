"""The shipping service, put together."""

from litestar import Litestar

from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.settings import Settings
from shipping_service import api
from shipping_service.carriers import Carrier
from shipping_service.carriers.remote import RemoteCarrier
from shipping_service.carriers.simulated import SimulatedCarrier
from shipping_service.domain import decide, evolve
from shipping_service.handlers import SUBSCRIPTIONS, bookings, carrier_jobs
from shipping_service.store import METADATA, load, save


def build(settings: Settings) -> Litestar:
    """The application; nothing runs yet. Raises SettingsError for a carrier that can not be reached."""
    carrier: Carrier = (
        RemoteCarrier(settings) if settings.carrier == "http" else SimulatedCarrier(settings)
    )
    decider = Decider(
        load=load,
        decide=decide,
        evolve=evolve,
        save=save,
        schedule=bookings(carrier),
        subscriptions=SUBSCRIPTIONS,
    )
    jobs = carrier_jobs(carrier, settings.carrier_max_attempts)
    service = Service("shipping", settings, decider, METADATA, jobs)
    routes = [api.shipments_router(service), api.carriers_router(service, carrier)]
    app = service.app("Quadrille: shipping", routes)
    app.on_shutdown.append(carrier.close)
    return app
