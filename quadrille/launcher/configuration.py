"""What `quadrille up` starts, and the settings that make its parts find each other."""

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import httpx

from quadrille.cli.endpoints import EVERY_ADDRESS
from quadrille.launcher.preflight import LOOPBACK, CannotStart, Port
from shared.settings import FILE, PREFIX, SECRETS, Settings, SettingsError, load, loopback_host


class Part(NamedTuple):
    """A process with an HTTP port."""

    name: str
    module: str
    setting: str
    title: str
    page: str
    shows: str
    secrets: tuple[str, ...] = ()
    """The settings of `SECRETS` that it needs: no other process gets them."""


SERVICES = (
    Part(
        "read",
        *("read_api", "read_api_port", "Shop", "/schema", "all there is to see"),
        secrets=("nats_url",),
    ),
    Part(
        "order",
        *("order_service", "order_port", "Orders", "/schema", "place orders"),
        secrets=("nats_url", "admin_password"),
    ),
    Part(
        "inventory",
        *("inventory_service", "inventory_port", "Inventory", "/schema", "fill shelves"),
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
    """The parts, their settings, and whether a broker is to be started for them."""

    settings: Settings
    environment: Mapping[str, str]
    parts: tuple[Part, ...]
    has_broker: bool
    new_password: str | None
    """The admin's, made up for a shop that never ran: to be shown once."""

    def environment_for(self, *secrets: str, nats_url: str | None = None) -> dict[str, str]:
        """A child's environment: of the secret settings only these, and of the broker's users only its own."""
        withheld = {f"{PREFIX}{name.upper()}" for name in SECRETS if name not in secrets}
        child = {
            name: value
            for name, value in self.environment.items()
            if name.removesuffix(FILE.upper()) not in withheld
        }
        return child | ({f"{PREFIX}NATS_URL": nats_url} if nats_url else {})

    @property
    def ports(self) -> list[Port]:
        """Every port that something will listen on."""
        wanted = [self._port(part.setting) for part in self.parts]
        if self.has_broker:
            wanted.append(self._port("nats_port")._replace(host=LOOPBACK))
        if MAILBOX in self.parts:
            wanted.append(self._port("mailbox_smtp_port"))
        return wanted

    def address(self, name: str) -> str:
        """Where this machine reaches a part: `http://127.0.0.1:8080`."""
        (part,) = (part for part in self.parts if part.name == name)
        port = self._port(part.setting)
        host = EVERY_ADDRESS.get(port.host, port.host)
        return str(httpx.URL(scheme="http", host=host, port=port.number))

    def _port(self, setting: str) -> Port:
        settings = self.settings
        is_local = setting in {"mailbox_port", "mailbox_smtp_port"}
        host = loopback_host(settings) if is_local else settings.host
        return Port(f"{PREFIX}{setting.upper()}", host, getattr(settings, setting))


def plan(environment: Mapping[str, str]) -> Plan:
    """A broker or an SMTP server that is given is used, and none started; so is the admin's password.

    Raises CannotStart for settings that are unknown, impossible, or not for five services at once.
    """
    try:
        settings = load(environment)
    except SettingsError as error:
        raise CannotStart(str(error)) from error
    if settings.database_url:
        raise CannotStart(
            f"{PREFIX}DATABASE_URL would give all services one database: "
            "unset it, or start each service by itself"
        )
    host = loopback_host(settings)
    mail_host = f"[{host}]" if ":" in host else host
    is_new = not (settings.data_dir / "order.db").exists() and not settings.admin_password
    new_password = secrets.token_urlsafe(12) if is_new else None
    has_broker = not _is_given("nats_url", environment)
    has_mailbox = not _is_given("smtp_url", environment)
    consistent = {
        **environment,
        f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
        "PYTHONUNBUFFERED": "1",
    }
    if has_broker:
        consistent[f"{PREFIX}NATS_URL"] = f"nats://{LOOPBACK}:{settings.nats_port}"
    if has_mailbox:
        consistent[f"{PREFIX}SMTP_URL"] = f"smtp://{mail_host}:{settings.mailbox_smtp_port}"
    if new_password:
        consistent[f"{PREFIX}ADMIN_PASSWORD"] = new_password
    return Plan(
        settings=load(consistent),
        environment=consistent,
        parts=(*SERVICES, MAILBOX) if has_mailbox else SERVICES,
        has_broker=has_broker,
        new_password=new_password,
    )


def _is_given(setting: str, environment: Mapping[str, str]) -> bool:
    name = f"{PREFIX}{setting.upper()}"
    return name in environment or name + FILE.upper() in environment
