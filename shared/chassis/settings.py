"""The settings that every service has, and the loader, which refuses an unknown `QUADRILLE_*` name."""

import difflib
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

PREFIX = "QUADRILLE_"
FILE = "_file"
DUPLICATE_WINDOW_SECONDS = 120
"""How long the broker remembers message ids. It refuses a stream that keeps events for a shorter time."""

DAY_SECONDS = 86_400
NATS_SCHEMES = {"nats", "tls", "ws", "wss"}

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # infinity could not be added to a time
Deadline = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class SettingsError(Exception):
    """A setting is unknown or has an impossible value; the message names it."""


class ChassisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`nats_url` is `QUADRILLE_NATS_URL`, and so on. A subclass adds the settings of its services."""

    SECRETS: ClassVar[tuple[str, ...]] = ("nats_url", "database_url")
    """May also be given as a file, `QUADRILLE_NATS_URL_FILE`, as containers receive their secrets."""

    EXPECTED: ClassVar[Mapping[str, str]] = {}
    """In words, of settings whose values have a pattern."""

    nats_url: str = "nats://127.0.0.1:4222"
    """With user and password if the broker asks for them: `nats://order:…@127.0.0.1:4222`."""
    nats_ca: Path | None = None
    """The certificate that the broker's is signed with, if the system does not trust it."""
    data_dir: Path = Path("data")
    database_url: str | None = None
    """An SQLAlchemy URL; replaces the service's own file under `data_dir`."""

    host: str = "127.0.0.1"
    allowed_hosts: str = ""
    """Names, separated by commas, that requests may be addressed to besides localhost and IP addresses. Without any,
    a service on a loopback address accepts no other name, and one on another address accepts all."""
    trusted_proxies: str = ""
    """Addresses and networks, separated by commas, whose `X-Forwarded-For` and `-Proto` are used; none by default."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 512
    """Of one process; requests on further ones are answered 503. Event streams count."""
    request_head_timeout_seconds: Deadline = 10
    """From the connection, or a later request's first byte, to the end of the request's head."""
    request_body_timeout_seconds: Deadline = 30
    cors_origins: str = ""
    """Origins, separated by commas, whose pages may call the APIs; none by default."""
    rate_limits: str = ""
    """Changes to the table in `shared/chassis/http/rate_limits.py`, or `off` for no limits at all."""

    stream_max_age_seconds: Seconds = 7 * DAY_SECONDS
    """How long the broker keeps events; 0 is without limit. The services' event logs keep them without limit."""
    stream_max_bytes: Annotated[int, msgspec.Meta(ge=-1)] = -1
    """Only with an age: a full stream accepts nothing until events in it become too old."""
    inbox_retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long ids of processed events are kept; 0 is without limit. Longer than the stream keeps events, which may
    arrive again."""

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    failpoint: str | None = None
    """For tests: where to exit, `after_commit`, or `after_commit:3` for its third passing."""

    def contradiction(self) -> str | None:
        """Why these settings cannot be used together; None if they can."""
        age = self.stream_max_age_seconds
        if 0 < age < DUPLICATE_WINDOW_SECONDS:
            return f"{PREFIX}STREAM_MAX_AGE_SECONDS must be 0 (no limit) or at least {DUPLICATE_WINDOW_SECONDS}"
        if self.stream_max_bytes > 0 and not age:
            return (
                f"{PREFIX}STREAM_MAX_BYTES without {PREFIX}STREAM_MAX_AGE_SECONDS would fill the stream once "
                "and stop the shop: set an age too"
            )
        if self.inbox_retention_days and not 0 < age < self.inbox_retention_days * DAY_SECONDS:
            return (
                f"{PREFIX}INBOX_RETENTION_DAYS must be longer than {PREFIX}STREAM_MAX_AGE_SECONDS: an event that "
                "arrives again would be handled again"
            )
        return (
            _invalid_nats_url(self.nats_url)
            or _invalid_authority(self.nats_ca)
            or _invalid_network(self.trusted_proxies)
        )


Settings = TypeVar("Settings", bound=ChassisSettings)


def load(settings_type: type[Settings], environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; raises SettingsError naming the first that is unknown or impossible."""
    source = os.environ if environment is None else environment  # noqa: TID251 - the one reader
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in source.items()
        if name.startswith(PREFIX)
    }
    for name in settings_type.SECRETS:
        if file := values.pop(name + FILE, None):
            values[name] = _content(name, file, values)
    for name in values:
        if name not in settings_type.__struct_fields__:
            raise SettingsError(_unknown(name, settings_type))
    try:
        settings = msgspec.convert(values, settings_type, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_explanation(error, settings_type)) from error
    if contradiction := settings.contradiction():
        raise SettingsError(contradiction)
    return settings


def loopback_host(settings: ChassisSettings) -> str:
    """The address for what other machines must not reach: the host, if it is a loopback address."""
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


def _content(name: str, file: str, values: Mapping[str, str]) -> str:
    setting = f"{PREFIX}{name.upper()}"
    if name in values:
        raise SettingsError(
            f"{setting} and {setting}{FILE.upper()} are both set: unset one of them"
        )
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError(f"{setting}{FILE.upper()}: {file} cannot be read ({reason})") from error


def _explanation(error: msgspec.ValidationError, settings_type: type[ChassisSettings]) -> str:
    reason, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`")
    if "matching regex" in reason and name in settings_type.EXPECTED:
        reason = f"expected {settings_type.EXPECTED[name]}"
    return f"{PREFIX}{name.upper()}: {reason}"


def _invalid_nats_url(url: str) -> str | None:
    """The message does not contain the URL: there may be a password in it."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        is_valid = parts.scheme in NATS_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if is_valid and not re.search(r"\s", url):
        return None
    return f"{PREFIX}NATS_URL: expected nats://[user:password@]host[:port], tls:// alike"


def _invalid_authority(file: Path | None) -> str | None:
    if file is None:
        return None
    if not file.is_file():
        return f"{PREFIX}NATS_CA: there is no file {file}"
    try:
        ssl.create_default_context(cafile=str(file))
    except OSError as error:  # SSLError is one
        return f"{PREFIX}NATS_CA: {file} contains no certificate ({error.strerror})"
    return None


def _invalid_network(trusted_proxies: str) -> str | None:
    for entry in listed(trusted_proxies):
        try:
            ipaddress.ip_network(entry)
        except ValueError as error:
            return f"{PREFIX}TRUSTED_PROXIES: {error}"
    return None


def _unknown(name: str, settings_type: type[ChassisSettings]) -> str:
    similar = difflib.get_close_matches(name, settings_type.__struct_fields__, n=1)
    hint = f"; did you mean {PREFIX}{similar[0].upper()}?" if similar else ""
    return f"{PREFIX}{name.upper()} is not a setting{hint}"


def _decode_path(expected: type, value: object) -> object:
    if expected is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
