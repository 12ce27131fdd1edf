"""Says whether the service that this container runs is alive; what is no service is always healthy.

A service that waits for the broker is alive: it takes orders, and restarting it would help nobody.
"""

# ruff: noqa: INP001 - a script of the image, in no package

import http.client
import sys
from pathlib import Path

from shared.settings import Settings, load

TIMEOUT_SECONDS = 4


def main() -> None:
    """Exit 0 when `/health/live` answers 200, else 1 with its words."""
    settings = load()
    port = port_of(Path("/proc/1/cmdline").read_text().split("\0"), settings)
    if port is None:
        return
    try:
        status, words = ask(port)
    except OSError as error:
        sys.exit(f"port {port}: {error}")
    if status != http.HTTPStatus.OK:
        sys.exit(words)


def port_of(command: list[str], settings: Settings) -> int | None:
    """Where the service named by the container's command listens; None when it names none."""
    ports = {
        "order_service": settings.order_port,
        "inventory_service": settings.inventory_port,
        "shipping_service": settings.shipping_port,
        "notifier_service": settings.notifier_port,
        "read_api": settings.read_api_port,
    }
    return next((ports[word] for word in command if word in ports), None)


def ask(port: int) -> tuple[int, str]:
    """The status and the words of `/health/live`. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


if __name__ == "__main__":
    main()
