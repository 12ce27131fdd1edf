"""Every setting, read once from the environment; an unknown `QUADRILLE_*` name is refused."""

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from shared.chassis.http import rate_limits

PREFIX = "QUADRILLE_"
FILE = "_file"
SECRETS = ("nats_url", "database_url", "smtp_url", "carrier_secret", "admin_password")
"""May be given as a file too, `QUADRILLE_NATS_URL_FILE`: containers get their secrets so."""
DUPLICATE_WINDOW_SECONDS = 120
"""How long the broker remembers ids. It refuses a stream that keeps events for a shorter time."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # no infinity: it is no date from now
Deadline = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SettingsError(Exception):
    """A setting is unknown or has an impossible value; the message names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of the shop can be told; `nats_url` is `QUADRILLE_NATS_URL`, and so on."""

    nats_url: str = "nats://127.0.0.1:4222"
    """With user and password where the broker asks for them: `nats://order:…@127.0.0.1:4222`."""
    nats_ca: Path | None = None
    """The certificate that the broker's is signed with, where the system does not know it."""
    data_dir: Path = Path("data")
    database_url: str | None = None
    """An SQLAlchemy URL; replaces the service's own file under `data_dir`."""

    host: str = "127.0.0.1"
    order_port: Port = 8080
    inventory_port: Port = 8081
    shipping_port: Port = 8082
    notifier_port: Port = 8083
    read_api_port: Port = 8000
    nats_port: Port = 4222
    """Of the broker that `quadrille up` starts."""
    mailbox_port: Port = 8025
    mailbox_smtp_port: Port = 1025

    allowed_hosts: str = ""
    """Names, separated by commas, that requests may be addressed to besides localhost and IP addresses. Without any,
    a service on a loopback address accepts no other name, and one on another address accepts all."""
    trusted_proxies: str = ""
    """Addresses and networks, separated by commas, whose `X-Forwarded-For` and `-Proto` are believed; none by default."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 512
    """To one process; requests on more are answered 503. Event streams count."""
    request_head_timeout_seconds: Deadline = 10
    """From the connection, or a later request's first byte, to the end of the request's head."""
    request_body_timeout_seconds: Deadline = 30

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "JPY"
    default_locale: Literal["en", "ja"] = "en"
    """The language of mails for orders that name none."""
    smtp_url: str = "smtp://127.0.0.1:1025"
    """`smtp://[user:password@]host[:port]`, or `null:` to record mails without sending."""
    mail_from: str = "Quadrille <shop@quadrille.example>"

    carrier: Literal["simulated", "http"] = "simulated"
    carrier_url: str | None = None
    """Where an `http` carrier takes bookings."""
    carrier_secret: str | None = None
    """Signs an `http` carrier's callbacks, HMAC-SHA256."""
    carrier_success_rate: Share = 0.9
    carrier_min_delay_seconds: Seconds = 3
    carrier_max_delay_seconds: Seconds = 7
    carrier_outage_rate: Share = 0
    """The share of booking attempts that find the carrier unreachable, and are tried again."""
    carrier_max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    carrier_seed: str = "quadrille"

    admin_email: Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] = (
        "admin@example.com"
    )
    admin_password: Annotated[str, msgspec.Meta(min_length=8)] | None = None
    """The first admin's, when his account is made; without it one is made up and logged once."""
    allow_guests: bool = True
    cors_origins: str = ""
    """Origins, separated by commas, whose pages may call the APIs; none by default."""
    rate_limits: str = ""
    """Changes to the table in `shared/chassis/http/rate_limits.py`, or `off` for no limits at all."""

    order_timeout_seconds: Deadline = 900
    """An order without progress for so long is cancelled as EXPIRED; the next three, by state."""
    order_timeout_pending_seconds: Deadline | None = None
    order_timeout_awaiting_shipment_seconds: Deadline | None = None
    order_timeout_cancelling_seconds: Deadline | None = None
    """After so long without an answer the cancellation is asked for again."""
    order_timeout_grace_seconds: Seconds = 60
    """Deadlines wait for so long after a start or an outage of the broker: others have to catch up first."""

    stream_max_age_seconds: Seconds = 0
    """How long the broker keeps events; 0 is for ever. The read API rebuilds from what is kept."""
    stream_max_bytes: Annotated[int, msgspec.Meta(ge=-1)] = -1
    """With an age only: a full stream takes nothing more until events in it become too old."""
    inbox_retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long ids of heard events are kept; 0 is for ever. Keep longer than the stream's age."""

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    failpoint: str | None = None
    """A crash point, `after_commit` or `after_commit:3` for its third passing: for tests."""


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; raises SettingsError naming the first that is unknown or impossible."""
    source = os.environ if environment is None else environment  # noqa: TID251 - the one reader
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in source.items()
        if name.startswith(PREFIX)
    }
    for name in SECRETS:
        if file := given.pop(name + FILE, None):
            given[name] = _content(name, file, given)
    for name in given:
        if name not in Settings.__struct_fields__:
            raise SettingsError(_unknown(name))
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        message = f"{PREFIX}{path.rstrip('`').upper()}: {reason}"
        raise SettingsError(message) from error
    if contradiction := _contradiction(settings):
        raise SettingsError(contradiction)
    return settings


def port_of(settings: Settings, service: str) -> int:
    """The HTTP port of a service, by the name it has on the broker."""
    port: int = getattr(settings, "read_api_port" if service == "read" else f"{service}_port")
    return port


def loopback_host(settings: Settings) -> str:
    """Where what must not be reached from other machines listens: on the host, if that is on the loopback."""
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = settings.host == "localhost"
    return settings.host if is_loopback else "127.0.0.1"


def listed(setting: str) -> list[str]:
    """The entries of a setting that is a list, separated by commas."""
    return [entry.strip() for entry in setting.split(",") if entry.strip()]


def inherited() -> dict[str, str]:
    """A copy of this process's environment, to be changed for a child."""
    return dict(os.environ)  # noqa: TID251 - the one reader


def _content(name: str, file: str, given: Mapping[str, str]) -> str:
    setting = f"{PREFIX}{name.upper()}"
    if name in given:
        raise SettingsError(
            f"{setting} and {setting}{FILE.upper()} are both set: unset one of them"
        )
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError(f"{setting}{FILE.upper()}: {file} cannot be read ({reason})") from error


def _contradiction(settings: Settings) -> str | None:
    """What the settings say that cannot be; None when they agree."""
    age = settings.stream_max_age_seconds
    if settings.carrier_min_delay_seconds > settings.carrier_max_delay_seconds:
        return f"{PREFIX}CARRIER_MIN_SECONDS is greater than {PREFIX}CARRIER_MAX_SECONDS"
    if 0 < age < DUPLICATE_WINDOW_SECONDS:
        return f"{PREFIX}STREAM_MAX_AGE_SECONDS must be 0 (no limit) or at least {DUPLICATE_WINDOW_SECONDS}"
    if settings.stream_max_bytes > 0 and not age:
        return (
            f"{PREFIX}STREAM_MAX_BYTES without {PREFIX}STREAM_MAX_AGE_SECONDS would fill the stream once "
            "and stop the shop: set an age too"
        )
    if settings.nats_ca and not settings.nats_ca.is_file():
        return f"{PREFIX}NATS_CA: there is no file {settings.nats_ca}"
    try:
        rate_limits.parse(settings.rate_limits)
    except ValueError as error:
        return f"{PREFIX}RATE_LIMITS: {error}"
    return _not_networks(settings.trusted_proxies)


def _not_networks(trusted_proxies: str) -> str | None:
    for entry in listed(trusted_proxies):
        try:
            ipaddress.ip_network(entry)
        except ValueError as error:
            return f"{PREFIX}TRUSTED_PROXIES: {error}"
    return None


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
    hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
    return f"{PREFIX}{name.upper()} is not a setting{hint}"


def _decode_path(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
