"""The shop of compose.yaml, with its images, commands and restrictions, on ports of its own."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import yaml
from click.testing import CliRunner
from docker.models.containers import Container
from docker.types import Mount
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy

from quadrille.cli.main import main
from tests.support.shop_expectations import ADMIN_PASSWORD, ShopExpectations

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OTHERS = ("nats", "mailpit")
PROVISIONER = "provision"
SERVICES = ("order", "inventory", "shipping", "notifier", "read")
GRACE_SECONDS = int(COMPOSE["x-hardening"]["stop_grace_period"].removesuffix("s"))
SECOND = 1_000_000_000
"""In nanoseconds, Docker's unit."""
START_SECONDS = 60


class ContainerShop(ShopExpectations):
    """Broker, mailbox and the five services, each a container of one network; removed on exit."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self._image = image
        self._environment = {
            "QUADRILLE_SMTP_URL": "smtp://mailpit:1025",
            "QUADRILLE_CARRIER_MIN_DELAY_SECONDS": "0",
            "QUADRILLE_CARRIER_MAX_DELAY_SECONDS": "0",
            "QUADRILLE_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "QUADRILLE_CARRIER_SUCCESS_RATE": "1",
        }
        self._containers: dict[str, DockerContainer] = {}
        self._exit = ExitStack()
        self._users = Path()

    def __enter__(self) -> Self:
        try:
            self._users = Path(self._exit.enter_context(TemporaryDirectory())) / "nats"
            CliRunner().invoke(
                main, ["nats-config", str(self._users), "--for-compose"], catch_exceptions=False
            )
            network = self._exit.enter_context(Network())
            for names in (OTHERS, SERVICES):
                for name in names:
                    self._start(name, network)
                for name in names:
                    HealthcheckWaitStrategy().wait_until_ready(self._containers[name])
            self._start(PROVISIONER, network)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        self.close()

    def container(self, name: str) -> Container:
        """Docker's object of a container."""
        return self._containers[name].get_wrapped_container()

    def url(self, name: str, path: str = "") -> str:
        container = self._containers[name]
        port = container.get_exposed_port(_port(COMPOSE["services"][name]["ports"][0]))
        return f"http://{container.get_container_host_ip()}:{port}{path}"

    def mail_count(self, recipient: str) -> int:
        mails = self.guest.show("mailpit", "/api/v1/messages")["messages"]
        return sum(recipient in {address["Address"] for address in mail["To"]} for mail in mails)

    def _start(self, name: str, network: Network) -> None:
        service = COMPOSE["services"][name]
        ours = name not in OTHERS
        environment = (
            self._environment | _secret_of(service) if ours else service.get("environment")
        )
        container = DockerContainer(
            self._image if ours else service["image"],
            command=service.get("command"),
            env=environment,
            ports=[_port(mapping) for mapping in service.get("ports", [])],
            network=network,
            network_aliases=[name],
            init=service["init"],
            read_only=service["read_only"],
            cap_drop=service["cap_drop"],
            security_opt=service["security_opt"],
            mounts=[Mount(target="/data", source=None, type="volume")],
            healthcheck={
                "test": service.get("healthcheck", {}).get("test"),
                "interval": SECOND,
                "timeout": START_SECONDS * SECOND,
                "start_period": START_SECONDS * SECOND,
            },
        )
        for secret in service.get("secrets", []):
            file = self._users / Path(COMPOSE["secrets"][secret]["file"]).name
            container.with_volume_mapping(file, f"/run/secrets/{secret}", "ro")
        for path in service["tmpfs"]:
            container.with_tmpfs_mount(path)
        self._containers[name] = self._exit.enter_context(container)


def _secret_of(service: dict[str, Any]) -> dict[str, str]:
    setting = "QUADRILLE_NATS_URL_FILE"
    return {setting: service["environment"][setting]}


def _port(mapping: str) -> int:
    """The port inside: 8080 of `127.0.0.1:${QUADRILLE_ORDER_PORT:-8080}:8080`."""
    return int(mapping.rpartition(":")[2])
