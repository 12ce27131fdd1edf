"""The shop of compose.yaml, run by Docker Compose under a project name, ports and secrets of its own."""

import json
import subprocess
from pathlib import Path
from typing import Self
from uuid import uuid4

import httpx
import yaml
from click.testing import CliRunner

from quadrille.cli.main import main
from shared.chassis.settings import inherited
from tests.support.ports import free_port
from tests.support.shop_client import Json
from tests.support.shop_expectations import ADMIN_PASSWORD, SERVICES, ShopExpectations

ROOT = Path(__file__).parents[2]
PORTS = {name: f"QUADRILLE_{name.upper()}_PORT" for name in SERVICES} | {
    "read": "QUADRILLE_READ_API_PORT",
    "mailpit": "QUADRILLE_MAILBOX_PORT",
    "nats": "QUADRILLE_NATS_PORT",
}


class ContainerShop(ShopExpectations):
    """Everything that compose.yaml starts; removed on exit, with its volumes and images."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._project = f"quadrille-test-{uuid4().hex[:8]}"
        self._ports = {name: free_port() for name in PORTS}
        self._override = directory / "override.yaml"
        self._environment = {
            **inherited(),
            **{PORTS[name]: str(port) for name, port in self._ports.items()},
            "QUADRILLE_CARRIER_MIN_DELAY_SECONDS": "0",
            "QUADRILLE_CARRIER_MAX_DELAY_SECONDS": "0",
            "QUADRILLE_CARRIER_SUCCESS_RATE": "1",
        }
        self._write_secrets(directory / "secrets")

    def __enter__(self) -> Self:
        try:
            self.compose("--profile", "tools", "build", "--quiet")
            self.compose("up", "--detach")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.compose("--profile", "tools", "down", "--volumes", "--rmi", "local", "--timeout", "1")

    def compose(self, *command: str) -> str:
        """The output of a `docker compose` command. Raises AssertionError if it fails."""
        files = ("--file", ROOT / "compose.yaml", "--file", self._override)
        done = subprocess.run(
            ["docker", "compose", "--project-name", self._project, *files, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self) -> dict[str, Json]:
        """What Compose reports of each container, by its service."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {container["Service"]: container for container in map(json.loads, lines)}

    def is_ready(self, name: str) -> bool:
        """Whether a service answers that it is."""
        try:
            return self.guest.get(name, "/health/ready").is_success
        except httpx.TransportError:
            return False

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self._ports[name]}{path}"

    def mail_count(self, recipient: str) -> int:
        mails = self.guest.show("mailpit", "/api/v1/messages")["messages"]
        return sum(recipient in {address["Address"] for address in mail["To"]} for mail in mails)

    def _write_secrets(self, directory: Path) -> None:
        """As `make secrets` does, but not in the checkout."""
        arguments = ["nats-config", str(directory), "--for-compose"]
        settings = {"QUADRILLE_ADMIN_PASSWORD": ADMIN_PASSWORD}
        CliRunner(env=settings).invoke(main, arguments, catch_exceptions=False)
        names = yaml.safe_load((ROOT / "compose.yaml").read_text())["secrets"]
        files = {
            name: {"file": str(directory / Path(secret["file"]).name)}
            for name, secret in names.items()
        }
        self._override.write_text(yaml.safe_dump({"secrets": files}))
