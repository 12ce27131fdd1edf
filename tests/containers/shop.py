"""The shop of compose.yaml, with its images, commands and restrictions, on ports of its own."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import httpx
import yaml
from click.testing import CliRunner
from docker.models.containers import Container
from docker.types import Mount
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy

from quadrille.cli.main import main
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OTHERS = ("nats", "mailpit")
PROVISIONER = "provision"
SERVICES = ("order", "inventory", "shipping", "notifier", "read")
GRACE_SECONDS = int(COMPOSE["x-hardening"]["stop_grace_period"].removesuffix("s"))
SECOND = 1_000_000_000
"""In Docker's unit."""
START_SECONDS = 60
ANSWER_SECONDS = 10
ORDER_SECONDS = 30
ADMIN_PASSWORD = "open sesame"

Json = dict[str, Any]


class ContainerShop:
    """JetStreamConnection, mailbox and the five services, each a container of one network; gone when left."""

    def __init__(self, image: str, **settings: str) -> None:
        self._image = image
        self._environment = {
            "QUADRILLE_SMTP_URL": "smtp://mailpit:1025",
            "QUADRILLE_CARRIER_MIN_DELAY_SECONDS": "0",
            "QUADRILLE_CARRIER_MAX_DELAY_SECONDS": "0",
            "QUADRILLE_ADMIN_PASSWORD": ADMIN_PASSWORD,
        } | {f"QUADRILLE_{name.upper()}": value for name, value in settings.items()}
        self._containers: dict[str, DockerContainer] = {}
        self._http = httpx.Client(timeout=ANSWER_SECONDS)
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
        self._http.close()

    def container(self, name: str) -> Container:
        """Docker's own view of it."""
        return self._containers[name].get_wrapped_container()

    def get(self, name: str, path: str) -> httpx.Response:
        """Ask a service."""
        return self._http.get(self._url(name, path))

    def post(self, name: str, path: str, body: Json) -> httpx.Response:
        """Tell a service."""
        return self._http.post(self._url(name, path), json=body)

    async def stock_up(self, product_id: str, quantity: int) -> None:
        """Put a product into the catalogue, and wait until it can be ordered."""
        product = {"productId": product_id, "name": product_id, "price": 1000, "stock": quantity}
        self._sign_in()
        await eventually(
            lambda: self.post("inventory", "/products", product).status_code == 201, ORDER_SECONDS
        )
        asked = {"items": [{"productId": product_id, "quantity": 1, "price": 1}]}
        await eventually(
            lambda: self.post("order", "/orders", asked).json().get("price") == 1000, ORDER_SECONDS
        )

    def _sign_in(self) -> None:
        account = {"email": "admin@example.com", "password": ADMIN_PASSWORD}
        signed_in = self.post("order", "/auth/login", account)
        assert signed_in.status_code == 200, signed_in.text
        self._http.headers["Authorization"] = f"Bearer {signed_in.json()['accessToken']}"

    def order(self, product_id: str, quantity: int, email: str) -> str:
        """Order, and have it accepted; the order's id."""
        response = self.post(
            "order",
            "/orders",
            {
                "email": email,
                "items": [{"productId": product_id, "quantity": quantity}],
                "shippingAddress": {"city": "Kyoto"},
            },
        )
        assert response.status_code == 201, response.text
        order_id: str = response.json()["orderId"]
        return order_id

    async def until(self, order_id: str, status: str) -> Json:
        """The order as the read API shows it, once it stands so."""

        def reached() -> Json:
            shown: Json = self.get("read", f"/orders/{order_id}").json()
            assert shown.get("status") == status, shown
            return shown

        return await eventually(reached, ORDER_SECONDS)

    async def until_stock(self, product_id: str, *, on_hand: int, reserved: int) -> None:
        """Wait until there are so many, and so many of these held for orders."""

        def reached() -> bool:
            product = self.get("inventory", f"/products/{product_id}").json()
            assert (product["onHand"], product["reserved"]) == (on_hand, reserved)
            return True

        await eventually(reached, ORDER_SECONDS)

    async def mails(self, count: int, recipient: str) -> list[str]:
        """The subjects of the mails in the recipient's mailbox, oldest first, once there are so many."""

        def arrived() -> list[str]:
            found = [
                mail["Subject"]
                for mail in self.get("mailpit", "/api/v1/messages").json()["messages"]
                if recipient in {address["Address"] for address in mail["To"]}
            ]
            assert len(found) == count, found
            return found[::-1]

        return await eventually(arrived, ORDER_SECONDS)

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

    def _url(self, name: str, path: str) -> str:
        container = self._containers[name]
        port = container.get_exposed_port(_port(COMPOSE["services"][name]["ports"][0]))
        return f"http://{container.get_container_host_ip()}:{port}{path}"


def _secret_of(service: Json) -> dict[str, str]:
    setting = "QUADRILLE_NATS_URL_FILE"
    return {setting: service["environment"][setting]}


def _port(mapping: str) -> int:
    """`127.0.0.1:${QUADRILLE_ORDER_PORT:-8080}:8080` leads to 8080 inside."""
    return int(mapping.rpartition(":")[2])
