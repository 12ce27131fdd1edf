"""What tests expect of a shop, through HTTP only: it may run as processes or in containers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx

from tests.support.eventually import eventually
from tests.support.shop_client import Json, ShopClient, order_of

READY_SECONDS = 60
ORDER_SECONDS = 30
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "open sesame"
SERVICES = ("order", "inventory", "shipping", "notifier", "read")


class ShopExpectations:
    """Two clients of the shop, the admin and a guest, and what they wait for."""

    def __init__(self) -> None:
        self.guest = ShopClient(self.url)
        self.admin = ShopClient(self.url, self._admin_token)
        self._token: str | None = None
        self._renew_at = 0.0

    def close(self) -> None:
        self.guest.close()
        self.admin.close()

    def url(self, name: str, path: str = "") -> str:
        """The address of a path of a service."""
        raise NotImplementedError

    def mail_count(self, recipient: str) -> int:
        """How many mails were delivered to this address."""
        raise NotImplementedError

    async def sign_in(self, services: Sequence[str] = SERVICES) -> None:
        """Make `admin` the admin's client, and wait until these services accept their token."""
        self._sign_in()
        for name in services:
            await eventually(lambda name=name: self._accepts_admin(name), READY_SECONDS)

    def _sign_in(self) -> None:
        tokens = self.guest.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        self._token = tokens["accessToken"]
        self._renew_at = time.monotonic() + tokens["expiresIn"] / 2

    def _admin_token(self) -> str | None:
        """None before `sign_in`; one near its end is replaced if the order service answers."""
        if self._token and time.monotonic() >= self._renew_at:
            with suppress(httpx.TransportError):
                self._sign_in()
        return self._token

    def _accepts_admin(self, name: str) -> bool:
        return self.admin.get(name, "/health/live").status_code == 200

    async def stock_up(self, **quantities: int) -> None:
        """Create products by id, each at 1,000, and wait until they can be ordered."""
        for product_id, quantity in quantities.items():
            product = {
                "productId": product_id,
                "name": product_id.capitalize(),
                "price": 1000,
                "stock": quantity,
            }
            response = self.admin.post("inventory", "/products", product)
            assert response.status_code == 201, response.text
        for product_id in quantities:
            await eventually(
                lambda product_id=product_id: self.is_for_sale(product_id), READY_SECONDS
            )

    def is_for_sale(self, product_id: str, price: int = 1000) -> bool:
        """Whether the order service has received this price; asks by an order at a wrong one."""
        order = order_of([(product_id, 1)], {})
        order["items"][0]["price"] = price + 1
        problem = self.guest.post("order", "/orders", order).json()
        return problem.get("price") == price

    @contextmanager
    def carrier(
        self, *, success_rate: float = 1, delay_seconds: float = 0, silent_rate: float = 0
    ) -> Iterator[None]:
        """Set the simulated carrier's behaviour for the block."""
        self.set_carrier(
            success_rate=success_rate, delay_seconds=delay_seconds, silent_rate=silent_rate
        )
        try:
            yield
        finally:
            self.set_carrier()

    def set_carrier(
        self, *, success_rate: float = 1, delay_seconds: float = 0, silent_rate: float = 0
    ) -> None:
        """Set the simulated carrier's behaviour; by default it delivers everything at once."""
        behaviour = {
            "successRate": success_rate,
            "minDelaySeconds": delay_seconds,
            "maxDelaySeconds": delay_seconds,
            "silentRate": silent_rate,
        }
        response = self.admin.put("shipping", "/carriers/simulated", behaviour)
        assert response.status_code == 200, response.text

    def stock(self, product_id: str) -> tuple[int, int]:
        """The quantities on hand and reserved."""
        product = self.admin.show("inventory", f"/products/{product_id}")
        assert product["available"] == product["onHand"] - product["reserved"]
        return product["onHand"], product["reserved"]

    async def until_stock(self, product_id: str, *, on_hand: int, reserved: int) -> None:
        def reached() -> bool:
            assert self.stock(product_id) == (on_hand, reserved)
            return True

        await eventually(reached, ORDER_SECONDS)

    def status(self, order_id: str) -> str:
        """The order service's status of an order."""
        status: str = self.admin.show("order", f"/orders/{order_id}")["status"]
        return status

    async def until(
        self, order_id: str, status: str, within_seconds: float = ORDER_SECONDS
    ) -> Json:
        """The order in the read API once it has this status."""

        def reached() -> Json | None:
            order: Json = self.admin.get("read", f"/orders/{order_id}").json()
            assert order.get("status") == status, order
            return order

        order = await eventually(reached, within_seconds)
        assert order is not None
        return order

    async def until_timeline(self, order_id: str, *event_types: str) -> None:
        """Wait until the order's timeline has exactly these events and those of its mails."""

        def reached() -> bool:
            timeline = self.admin.show("read", f"/orders/{order_id}/timeline")["items"]
            types = [event["type"] for event in timeline if event["source"] != "notifier"]
            assert sorted(types) == sorted(event_types)
            return True

        await eventually(reached, ORDER_SECONDS)

    async def until_mailed(self, recipient: str, count: int) -> None:
        def reached() -> bool:
            assert self.mail_count(recipient) == count
            return True

        await eventually(reached, ORDER_SECONDS)
