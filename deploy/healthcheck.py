"""The container's health check: whether its service answers `/health/live`.

A service that waits for the broker is alive: it accepts commands, and a restart would not help. The check runs every few
seconds for as long as the container does, so it imports nothing that it can do without.
"""

# ruff: noqa: INP001 - a script of the image, in no package

import os
import socket
import sys

TIMEOUT_SECONDS = 4
PORTS = {
    "order_service": ("QUADRILLE_ORDER_PORT", 8080),
    "inventory_service": ("QUADRILLE_INVENTORY_PORT", 8081),
    "shipping_service": ("QUADRILLE_SHIPPING_PORT", 8082),
    "notifier_service": ("QUADRILLE_NOTIFIER_PORT", 8083),
    "read_api": ("QUADRILLE_READ_API_PORT", 8000),
}
"""The setting and its default, by the module that the container's command names."""


def main() -> None:
    """Exit 0 if the service answers 200, else 1 with the reason."""
    with open("/proc/1/cmdline") as file:  # noqa: PTH123 - pathlib would be most of the check's cost
        words = file.read().replace("\0", " ").split()
    module = next((word for word in words if word in PORTS), None)
    if module is None:
        sys.exit("the container's command names no service: start it without a health check")
    setting, default = PORTS[module]
    port = int(os.environ.get(setting, default))  # noqa: TID251 - a script without the settings
    try:
        answer = get_live(port)
    except OSError as error:
        sys.exit(f"port {port}: {error}")
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(answer.decode())


def get_live(port: int) -> bytes:
    """The response of `/health/live`. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        with connection.makefile("rb") as response:
            return response.read()


if __name__ == "__main__":
    main()
