"""The settings of the shop's services, in addition to those that every service has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from shared.chassis import settings as chassis
from shared.chassis.http import rate_limits
from shared.chassis.settings import DAY_SECONDS, PREFIX, ChassisSettings, Deadline, Seconds
from shared.contracts.order import OrderStatus
from shared.contracts.types import MAX_LINES, MAX_UNITS

LOOPBACK_FOR_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}

DATA_DIR = f"{PREFIX}DATA_DIR"
LOCAL_DATA = Path("data")
IS_CHECKOUT = (Path(__file__).parents[1] / "pyproject.toml").is_file()
"""Whether this code is run from the repository; an installed package has no such file beside it."""
DATABASES = ("order.db", "inventory.db", "shipping.db", "notifier.db", "read.db")

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ShopSettings(ChassisSettings, frozen=True, kw_only=True):
    """One struct for all services: each process refuses a name that none of them has."""

    SECRETS: ClassVar[tuple[str, ...]] = (
        *ChassisSettings.SECRETS,
        "smtp_url",
        "carrier_secret",
        "admin_password",
    )

    EXPECTED: ClassVar[Mapping[str, str]] = {
        "public_url": "https://host[:port][/path], http:// alike",
        "currency": "three capital letters, such as JPY",
        "admin_email": "an e-mail address",
    }

    order_port: Port = 8080
    inventory_port: Port = 8081
    shipping_port: Port = 8082
    notifier_port: Port = 8083
    read_api_port: Port = 8000
    nats_port: Port = 4222
    """Of the broker that `quadrille up` starts."""
    mailbox_port: Port = 8025
    mailbox_smtp_port: Port = 1025

    public_url: (
        Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$(?!\n)")] | None
    ) = None
    """Where customers reach the shop: links in mails begin with it. By default the addresses of the order service, for
    accounts, and of the read API, for orders."""
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "JPY"
    default_locale: Literal["en", "ja"] = "en"
    """The language of mails for orders that name none."""
    smtp_url: str = "smtp://127.0.0.1:1025"
    """`smtp://[user:password@]host[:port]`, or `null:` to record mails without sending."""
    mail_from: str = "Quadrille <shop@quadrille.example>"
    mail_max_age_hours: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 24
    """An event that the notifier receives later than this leads to no mail, as when it is replayed; 0 is without limit."""

    carrier: Literal["simulated", "http"] = "simulated"
    """Books new shipments; a shipment keeps the carrier that it was booked with."""
    carrier_url: str | None = None
    """Where an `http` carrier takes bookings."""
    carrier_secret: str | None = None
    """Signs an `http` carrier's callbacks, HMAC-SHA256."""
    carrier_success_rate: Share = 0.9
    carrier_min_delay_seconds: Seconds = 3
    carrier_max_delay_seconds: Seconds = 7
    carrier_outage_rate: Share = 0
    """The share of booking attempts for which the carrier is unreachable; they are repeated."""
    carrier_silent_rate: Share = 0
    """The share of dispatched parcels of which the simulated carrier never reports an outcome."""
    carrier_max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    carrier_seed: str = "quadrille"

    admin_email: Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] = (
        "admin@example.com"
    )
    admin_password: Annotated[str, msgspec.Meta(min_length=8)] | None = None
    """Of the first admin, when the account is created; without it one is generated into a private file, whose path is logged."""
    allow_guests: bool = True
    require_address: bool = True
    """Whether an order needs an address to ship to."""
    max_lines_per_order: Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES)] = MAX_LINES
    max_units_per_line: Annotated[int, msgspec.Meta(ge=1, le=MAX_UNITS)] = 10_000
    """Of all lines of an order with the same product."""

    order_timeout_seconds: Deadline = 900
    """An order without progress for this long is cancelled as EXPIRED; the next three are for one status each."""
    order_timeout_pending_seconds: Deadline | None = None
    order_timeout_awaiting_shipment_seconds: Deadline | None = None
    order_timeout_cancelling_seconds: Deadline | None = None
    """After this long without an answer the cancellation is requested again."""
    delivery_timeout_days: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 7
    """A parcel without an outcome for this long after its dispatch is overdue: an operator ends it."""
    order_timeout_grace_seconds: Seconds = 60
    """Timeouts wait this long after a start or an outage of the broker: other services have to catch up first."""

    @property
    def order_timeouts(self) -> dict[OrderStatus, float]:
        """The seconds without progress after which an open order's deadline passes, by its status."""
        usual = self.order_timeout_seconds
        return {
            OrderStatus.PENDING: self.order_timeout_pending_seconds or usual,
            OrderStatus.SHIPPED: self.delivery_timeout_days * DAY_SECONDS,
            OrderStatus.AWAITING_SHIPMENT: self.order_timeout_awaiting_shipment_seconds or usual,
            OrderStatus.CANCELLING: self.order_timeout_cancelling_seconds or usual,
        }

    def contradiction(self) -> str | None:
        if self.carrier_min_delay_seconds > self.carrier_max_delay_seconds:
            return (
                f"{PREFIX}CARRIER_MIN_DELAY_SECONDS is greater than "
                f"{PREFIX}CARRIER_MAX_DELAY_SECONDS"
            )
        try:
            rate_limits.parse(self.rate_limits)
        except ValueError as error:
            return f"{PREFIX}RATE_LIMITS: {error}"
        return super().contradiction()


def load(environment: Mapping[str, str] | None = None) -> ShopSettings:
    """Read the settings; raises SettingsError naming the first that is unknown or impossible."""
    source = chassis.inherited() if environment is None else environment
    default = {} if DATA_DIR in source else {DATA_DIR: str(default_data_dir(source))}
    return chassis.load(ShopSettings, {**source, **default})


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """`./data` of a checkout, or where an earlier release has made a shop there; otherwise a directory of the user.

    That is `$XDG_DATA_HOME/quadrille`, by default `~/.local/share/quadrille`.
    """
    if IS_CHECKOUT or any((LOCAL_DATA / name).is_file() for name in DATABASES):
        return LOCAL_DATA
    data_home = Path(environment.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():  # the specification has relative ones ignored
        data_home = Path.home() / ".local" / "share"
    return data_home / "quadrille"


def public_url_of(settings: ShopSettings, service: str) -> str:
    """What the addresses begin with that customers reach a service by."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = LOOPBACK_FOR_WILDCARD.get(settings.host, settings.host)
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port_of(settings, service)}"


def port_of(settings: ShopSettings, service: str) -> int:
    """The HTTP port of a service, by the name it has on the broker."""
    port: int = getattr(settings, "read_api_port" if service == "read" else f"{service}_port")
    return port
