"""Where the shop's services are, and one request to any of them: its answer, or a sentence that says what to do."""

from typing import Any
from urllib.parse import quote

import click
import httpx
import msgspec

from shared.chassis.printable import printable
from shared.settings import Settings, SettingsError, load, port_of

TIMEOUT_SECONDS = 10
NO_CONTENT = 204
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
AGENT = {"User-Agent": "quadrille"}


class ShopError(click.ClickException):
    """The shop can not be asked, or refuses; exit code 2."""

    exit_code = 2

    def format_message(self) -> str:
        """What a service answered may be part of it."""
        return printable(super().format_message(), keep="\n")


class Unreachable(ShopError):
    """A service is not there, or silent."""


class Shop:
    """One shop, at the addresses that the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def url(self, service: str, path: str = "") -> httpx.URL:
        """An address of a service."""
        host = EVERY_ADDRESS.get(self._settings.host, self._settings.host)
        port = port_of(self._settings, service)
        return httpx.URL(scheme="http", host=host, port=port, path=path)

    def send(
        self,
        method: str,
        service: str,
        path: str,
        headers: dict[str, str] | None = None,
        **content: Any,  # noqa: ANN401 - as httpx takes it
    ) -> httpx.Response:
        """What a service answers, a refusal too. Raises Unreachable."""
        try:
            with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
                return http.request(
                    method, self.url(service, path), headers=AGENT | (headers or {}), **content
                )
        except httpx.TransportError as error:
            raise self.unreachable(service, error) from error

    def unreachable(self, service: str, error: httpx.TransportError) -> Unreachable:
        """What this error comes to, and what to do about it."""
        where = self.url(service, "/")
        why = "does not answer" if isinstance(error, httpx.TimeoutException) else "is not there"
        return Unreachable(f"the {named(service)} {why} at {where}: is the shop up? make up")


def settings() -> Settings:
    """The settings of the environment. Raises ShopError for one that is unknown or impossible."""
    try:
        return load()
    except SettingsError as error:
        raise ShopError(str(error)) from error


def segment(text: str) -> str:
    """A part of a path, whatever somebody typed."""
    return quote(text, safe="")


def named(service: str) -> str:
    """What people call it."""
    return "read API" if service == "read" else f"{service} service"


def document(response: httpx.Response) -> Any:  # noqa: ANN401 - any JSON
    """The JSON of an answer, None of one without content. Raises ShopError for a refusal, and for what is no answer of the shop's."""
    if response.is_error:
        raise refusal(response)
    if response.status_code == NO_CONTENT:
        return None
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        message = f"{response.url} does not answer JSON: is that a service of the shop?"
        raise ShopError(message) from error


def refusal(response: httpx.Response) -> ShopError:
    """What a problem document says."""
    try:
        problem = msgspec.json.decode(response.content)
        return ShopError(problem["detail"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message = f"{response.url} answers {response.status_code}: is that a service of the shop?"
        return ShopError(message)
