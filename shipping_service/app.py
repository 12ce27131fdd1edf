"""The shipping service, put together."""

from litestar import Litestar

from shared.config import Settings
from shared.decider import Decider
from shared.service import Service
from shipping_service import api
from shipping_service.carriers import SimulatedCarrier
from shipping_service.domain import decide, evolve
from shipping_service.handlers import REACTIONS, booking_job, bookings
from shipping_service.store import TABLES, load, save


def build(settings: Settings) -> Litestar:
    """The application; nothing runs yet."""
    carrier = SimulatedCarrier(settings)
    decider = Decider(
        load=load,
        decide=decide,
        evolve=evolve,
        save=save,
        follow_up=bookings(carrier),
        reactions=REACTIONS,
    )
    jobs = (booking_job(carrier, settings.carrier_attempts),)
    service = Service("shipping", settings, decider, TABLES, jobs)
    return service.app("Quadrille: shipping", [api.router(service)])
