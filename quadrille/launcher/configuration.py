"""What `quadrille up` starts, and the settings by which its parts find each other."""

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import httpx

from quadrille.launcher.preflight import LOOPBACK, CannotStart, Port
from shared.chassis.settings import FILE, PREFIX, SettingsError, loopback_host
from shared.settings import LOOPBACK_FOR_WILDCARD, ShopSettings, load


class Part(NamedTuple):
    """A process with an HTTP port."""

    name: str
    module: str
    setting: str
    title: str
    page: str
    purpose: str
    secrets: tuple[str, ...] = ()
    """The settings of `SECRETS` that it needs: no other process gets them."""


SERVICES = (
    Part(
        "read",
        *("read_api", "read_api_port", "Shop", "/schema", "orders, products, reports, events"),
        secrets=("nats_url",),
    ),
    Part(
        "order",
        *("order_service", "order_port", "Orders", "/schema", "place orders"),
        secrets=("nats_url", "admin_password"),
    ),
    Part(
        "inventory",
        *("inventory_service", "inventory_port", "Inventory", "/schema", "products and stock"),
        secrets=("nats_url",),
    ),
    Part(
        "shipping",
        *("shipping_service", "shipping_port", "Shipping", "/schema", "shipments"),
        secrets=("nats_url", "carrier_secret"),
    ),
    Part(
        "notifier",
        *("notifier_service", "notifier_port", "Notifier", "/schema", "mails sent"),
        secrets=("nats_url", "smtp_url"),
    ),
)
MAILBOX = Part("mailbox", "quadrille.mailbox", "mailbox_port", "Mailbox", "", "mails received")


class Plan(NamedTuple):
    """The parts, their settings, and whether a broker is started for them."""

    settings: ShopSettings
    environment: Mapping[str, str]
    parts: tuple[Part, ...]
    has_broker: bool
    new_password: str | None
    """The first admin's, generated for a new shop: to be printed once."""

    def environment_for(self, *secrets: str, nats_url: str | None = None) -> dict[str, str]:
        """A process's environment: of the secret settings only these, of the broker's users only its own."""
        withheld = {
            f"{PREFIX}{name.upper()}" for name in ShopSettings.SECRETS if name not in secrets
        }
        environment = {
            name: value
            for name, value in self.environment.items()
            if name.removesuffix(FILE.upper()) not in withheld
        }
        return environment | ({f"{PREFIX}NATS_URL": nats_url} if nats_url else {})

    @property
    def ports(self) -> list[Port]:
        """Every port that something will listen on."""
        ports = [self._port(part.setting) for part in self.parts]
        if self.has_broker:
            ports.append(self._port("nats_port")._replace(host=LOOPBACK))
        if MAILBOX in self.parts:
            ports.append(self._port("mailbox_smtp_port"))
        return ports

    def address(self, name: str) -> str:
        """Where this machine reaches a part: `http://127.0.0.1:8080`."""
        (part,) = (part for part in self.parts if part.name == name)
        port = self._port(part.setting)
        host = LOOPBACK_FOR_WILDCARD.get(port.host, port.host)
        return str(httpx.URL(scheme="http", host=host, port=port.number))

    def _port(self, setting: str) -> Port:
        settings = self.settings
        is_local = setting in {"mailbox_port", "mailbox_smtp_port"}
        host = loopback_host(settings) if is_local else settings.host
        return Port(f"{PREFIX}{setting.upper()}", host, getattr(settings, setting))


def plan(environment: Mapping[str, str]) -> Plan:
    """Plan a broker, an SMTP server and an admin's password only where the environment names none.

    Raises CannotStart for settings that are unknown, impossible, or wrong for five services at once.
    """
    settings = _load(environment)
    has_broker = not _is_set("nats_url", environment)
    has_mailbox = not _is_set("smtp_url", environment)
    is_new = not (settings.data_dir / "order.db").exists() and not settings.admin_password
    new_password = secrets.token_urlsafe(12) if is_new else None
    complete = {
        **environment,
        f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
        "PYTHONUNBUFFERED": "1",
    }
    if has_broker:
        complete[f"{PREFIX}NATS_URL"] = f"nats://{LOOPBACK}:{settings.nats_port}"
    if has_mailbox:
        complete[f"{PREFIX}SMTP_URL"] = _mailbox_url(settings)
    if new_password:
        complete[f"{PREFIX}ADMIN_PASSWORD"] = new_password
    return Plan(
        settings=load(complete),
        environment=complete,
        parts=(*SERVICES, MAILBOX) if has_mailbox else SERVICES,
        has_broker=has_broker,
        new_password=new_password,
    )


def _load(environment: Mapping[str, str]) -> ShopSettings:
    try:
        settings = load(environment)
    except SettingsError as error:
        raise CannotStart(str(error)) from error
    if settings.database_url:
        raise CannotStart(
            f"{PREFIX}DATABASE_URL would give all services one database: "
            "unset it, or start each service alone"
        )
    return settings


def _mailbox_url(settings: ShopSettings) -> str:
    host = loopback_host(settings)
    in_url = f"[{host}]" if ":" in host else host
    return f"smtp://{in_url}:{settings.mailbox_smtp_port}"


def _is_set(setting: str, environment: Mapping[str, str]) -> bool:
    name = f"{PREFIX}{setting.upper()}"
    return name in environment or name + FILE.upper() in environment
