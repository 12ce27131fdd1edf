"""The notifier service, put together."""

from functools import partial

from litestar import Litestar

from notifier_service import api
from notifier_service.domain import decide, evolve
from notifier_service.handlers import SUBSCRIPTIONS, mail_job, mails
from notifier_service.order_reader import OrderReader
from notifier_service.smtp import NullMailer, build_mailer
from notifier_service.store import METADATA, load, save
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.chassis.storage.database import database_url, open_for_reading
from shared.settings import Settings


def build(settings: Settings) -> Litestar:
    """The application; nothing runs yet. Raises SettingsError."""
    mailer = build_mailer(settings)
    orders = OrderReader(open_for_reading(database_url("notifier", settings)))
    decider = Decider(
        load=load,
        decide=partial(decide, sends=not isinstance(mailer, NullMailer)),
        evolve=evolve,
        save=save,
        schedule=mails,
        subscriptions=SUBSCRIPTIONS,
    )
    jobs = (mail_job(orders, mailer),)
    service = Service("notifier", settings, decider, METADATA, jobs)
    app = service.app("Quadrille: notifier", [api.router(service)])
    app.on_shutdown += [mailer.close, orders.close]
    return app
