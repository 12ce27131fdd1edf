"""Where the services of a shop are, and one request to any of them: its answer, or one sentence with what to do."""

from typing import Any, TypeAlias
from urllib.parse import quote

import click
import httpx
import msgspec

from shared.chassis.printable import printable
from shared.chassis.settings import SettingsError
from shared.contracts import CATALOG
from shared.settings import LOOPBACK_FOR_WILDCARD, ShopSettings, load, port_of

DECIDING = tuple(sorted(CATALOG.sources))
"""The services that have an event log."""
SERVICES = (*DECIDING, "read")
"""The read API comes last: in a backup, its archive then contains what the other copies contain."""

Json: TypeAlias = Any
"""A decoded JSON document of a service."""

TIMEOUT_SECONDS = 10
NO_CONTENT = 204
USER_AGENT = {"User-Agent": "quadrille"}


class ShopError(click.ClickException):
    """A service cannot be reached, or rejects the request; exit code 1, while misuse has 2."""

    def format_message(self) -> str:
        """Without control characters: the message may contain text of a service."""
        return printable(super().format_message(), keep="\n")


class ServiceUnreachable(ShopError):
    """A service does not accept the connection, or does not answer."""


class InvalidSettings(ShopError):
    """A setting of the environment is unknown or invalid."""

    exit_code = click.UsageError.exit_code


class Endpoints:
    """The HTTP endpoints of one shop, at the addresses of the settings."""

    def __init__(self, settings: ShopSettings) -> None:
        self._settings = settings

    def url(self, service: str, path: str = "") -> httpx.URL:
        """`service` is its short name: `order`, `read`."""
        host = LOOPBACK_FOR_WILDCARD.get(self._settings.host, self._settings.host)
        port = port_of(self._settings, service)
        try:
            return httpx.URL(scheme="http", host=host, port=port, path=path)
        except httpx.InvalidURL as error:
            raise InvalidSettings(f"QUADRILLE_HOST: {error}") from error

    def request(
        self,
        method: str,
        service: str,
        path: str,
        headers: dict[str, str] | None = None,
        **content: Json,
    ) -> httpx.Response:
        """The response, an error status too. Raises ServiceUnreachable."""
        try:
            with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
                return http.request(
                    method, self.url(service, path), headers=USER_AGENT | (headers or {}), **content
                )
        except httpx.TransportError as error:
            raise self.unreachable(service, error) from error

    def unreachable(self, service: str, error: httpx.TransportError) -> ServiceUnreachable:
        """The sentence for this error, and what to do."""
        name, address = title_of(service), self.url(service, "/")
        if isinstance(error, httpx.TimeoutException):
            return ServiceUnreachable(f"the {name} at {address} does not answer; see its log")
        return ServiceUnreachable(
            f"cannot connect to the {name} at {address}; start it: quadrille up"
        )


def load_settings() -> ShopSettings:
    """The settings of the environment. Raises InvalidSettings."""
    try:
        return load()
    except SettingsError as error:
        raise InvalidSettings(str(error)) from error


def segment(text: str) -> str:
    """User input as one segment of a path."""
    return quote(text, safe="")


def title_of(service: str) -> str:
    """A service's name in a sentence."""
    return "read API" if service == "read" else f"{service} service"


def decoded(response: httpx.Response) -> Json:
    """The JSON of a response, None without content. Raises ShopError for an error status or another format."""
    if response.is_error:
        raise rejection(response)
    if response.status_code == NO_CONTENT:
        return None
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise _not_a_service(response, "not with JSON") from error


def rejection(response: httpx.Response) -> ShopError:
    """The detail of a problem document."""
    try:
        return ShopError(msgspec.json.decode(response.content)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return _not_a_service(response, str(response.status_code))


def _not_a_service(response: httpx.Response, answer: str) -> ShopError:
    return ShopError(
        f"{response.url} answers {answer}: check that this is the address of a Quadrille service"
    )
