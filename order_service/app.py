"""The order service, put together."""

from functools import partial

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from order_service.accounts import api as accounts_api
from order_service.accounts import keys_api, links_api, pages, roles_api
from order_service.accounts.emails import canonical
from order_service.accounts.mailed_links import MailedLinks
from order_service.accounts.password_rules import weakness
from order_service.accounts.service import Accounts
from order_service.accounts.signing_keys import SigningKeys
from order_service.addresses import api as addresses_api
from order_service.carts import api as carts_api
from order_service.domain import Command, OrderState, decide, evolve
from order_service.handlers import SUBSCRIPTIONS, TASK_HANDLERS, schedule_deadlines
from order_service.orders import api as orders_api
from order_service.orders.limits import OrderLimits
from order_service.store import RETENTION_RULES, STORE, derived_tables
from order_service.tables import METADATA
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.http.openapi import ApiDescription
from shared.chassis.messages.decider import Decider
from shared.chassis.runtime.service import Service
from shared.chassis.settings import SettingsError
from shared.contracts import CATALOG, OrderNudged
from shared.contracts.examples import EXAMPLES
from shared.settings import ShopSettings


def logic(settings: ShopSettings) -> ServiceLogic[OrderState, Command]:
    """The service's rules, with the limits and deadlines of the settings."""
    limits = OrderLimits(lines=settings.max_lines_per_order, units=settings.max_units_per_line)
    return ServiceLogic(
        decider=Decider(initial=OrderState(), decide=partial(decide, limits=limits), evolve=evolve),
        store=STORE,
        subscriptions=SUBSCRIPTIONS,
        schedule=schedule_deadlines(settings.order_timeout_seconds, settings.order_timeouts),
        nudges=(OrderNudged,),
    )


API = ApiDescription(
    description="Accepts orders, and knows their state, the carts and the customers' accounts.",
    port=ShopSettings().order_port,
    tags={
        "orders": "Orders of customers and guests.",
        "cart": "The signed-in customer's cart.",
        "addresses": "The signed-in customer's address book.",
        "accounts": "Registration, sessions, and the signed-in customer's account.",
        "signing keys": "The keys that access tokens are signed with.",
    },
    examples=EXAMPLES,
)


def build(settings: ShopSettings) -> Litestar:
    """The application; nothing runs yet."""
    _check_admin(settings)
    service = Service(
        "order",
        settings,
        logic(settings),
        METADATA,
        TASK_HANDLERS,
        derived=derived_tables,
        catalog=CATALOG,
        retention_rules=RETENTION_RULES,
        deadline_grace_seconds=settings.order_timeout_grace_seconds,
    )
    signing_keys = SigningKeys(service)
    accounts = Accounts(service, settings, signing_keys)
    mailed_links = MailedLinks(service, accounts.passwords)
    routes: list[ControllerRouterHandler] = [
        *orders_api.ROUTES,
        carts_api.CartController,
        addresses_api.AddressController,
        accounts_api.AccountController,
        links_api.LinkController,
        pages.PageController,
        roles_api.RoleController,
        *keys_api.ROUTES,
    ]
    app = service.app(
        "Quadrille: orders",
        routes,
        on_startup=[signing_keys.prepare, accounts.prepare],
        dependencies={
            "accounts": accounts,
            "keys": signing_keys,
            "mailed_links": mailed_links,
            "order_api": orders_api.OrderApi(service, settings),
        },
        api=API,
        warnings=lambda: accounts.warnings,
    )
    app.on_shutdown.insert(0, mailed_links.close)
    return app


def _check_admin(settings: ShopSettings) -> None:
    """Raises SettingsError for an address or a password that no customer could register with."""
    try:
        email = canonical(settings.admin_email)
    except ValueError as error:
        raise SettingsError(f"QUADRILLE_ADMIN_EMAIL: {error}") from error
    if settings.admin_password and (wrong := weakness(settings.admin_password, email)):
        raise SettingsError(f"QUADRILLE_ADMIN_PASSWORD: {wrong}")
