"""The container's health check: whether its service is alive; a container without a service is always healthy.

A service that waits for the broker is alive: it accepts commands, and a restart would not help.
"""

# ruff: noqa: INP001 - a script of the image, in no package

import http.client
import sys
from pathlib import Path

from shared.settings import ShopSettings, load

TIMEOUT_SECONDS = 4


def main() -> None:
    """Exit 0 if `/health/live` answers 200, else 1 with the reason."""
    settings = load()
    port = port_of(Path("/proc/1/cmdline").read_text().split("\0"), settings)
    if port is None:
        return
    try:
        status, body = get_live(port)
    except OSError as error:
        sys.exit(f"port {port}: {error}")
    if status != http.HTTPStatus.OK:
        sys.exit(body)


def port_of(command: list[str], settings: ShopSettings) -> int | None:
    """The port of the service that the container's command names; None if it names none."""
    ports = {
        "order_service": settings.order_port,
        "inventory_service": settings.inventory_port,
        "shipping_service": settings.shipping_port,
        "notifier_service": settings.notifier_port,
        "read_api": settings.read_api_port,
    }
    return next((ports[word] for word in command if word in ports), None)


def get_live(port: int) -> tuple[int, str]:
    """Status and body of `/health/live`. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/health/live")
    response = connection.getresponse()
    return response.status, response.read().decode()


if __name__ == "__main__":
    main()
