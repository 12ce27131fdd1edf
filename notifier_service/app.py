"""The notifier service, put together."""

from datetime import timedelta
from functools import partial

from litestar import Litestar

from notifier_service import api, link_key
from notifier_service.account_handlers import account_mail_task
from notifier_service.domain import Command, NotifierState, decide, evolve
from notifier_service.handlers import FOR_A_DAY, SUBSCRIPTIONS, mail_task, schedule_mails
from notifier_service.mail_links import MailLinks
from notifier_service.order_reader import OrderReader
from notifier_service.smtp import NullMailer, build_mailer
from notifier_service.store import METADATA, STORE, VERSIONS, derived_tables
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.chassis.storage.database import database_url, open_for_reading
from shared.contracts import CATALOG, OrderNudged
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings


def logic(*, sends: bool, max_age: timedelta | None = None) -> ServiceLogic[NotifierState, Command]:
    """The service's rules; without `sends`, a mail counts as sent as soon as its recipient is known.

    An event older than `max_age` leads to no mail.
    """
    return ServiceLogic(
        decider=Decider(
            initial=NotifierState(),
            decide=partial(decide, sends=sends, max_age=max_age),
            evolve=evolve,
        ),
        store=STORE,
        subscriptions=SUBSCRIPTIONS,
        schedule=schedule_mails,
        nudges=(OrderNudged,),
    )


def max_age(settings: ShopSettings) -> timedelta | None:
    """Of events that lead to mails."""
    hours = settings.mail_max_age_hours
    return timedelta(hours=hours) if hours else None


API = ApiDescription(
    description="Writes mails to customers, and knows which were sent, failed or skipped.",
    port=ShopSettings().notifier_port,
    tags={
        "notifications": "Mails and their outcomes: for admins.",
    },
    examples=EXAMPLES,
)


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs yet. Raises SettingsError."""
    links = MailLinks(settings)
    mailer = build_mailer(settings, links)
    orders = OrderReader(open_for_reading(database_url("notifier", settings)))
    task_handlers = (mail_task(orders, mailer), account_mail_task(mailer, FOR_A_DAY))
    service = Service(
        "notifier",
        settings,
        logic(sends=not isinstance(mailer, NullMailer), max_age=max_age(settings)),
        METADATA,
        task_handlers,
        derived=derived_tables,
        versions=VERSIONS,
        catalog=CATALOG,
    )
    app = service.app(
        "Quadrille: notifier",
        [api.NotificationController],
        on_startup=[partial(link_key.prepare, service, links)],
        api=API,
    )
    app.on_shutdown += [mailer.close, orders.close]
    return app
