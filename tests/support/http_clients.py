"""Those who come to the shop: each asks in his own name, or in nobody's."""

import contextlib
from collections.abc import Iterator
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.support.running_shop import ANSWER_SECONDS, Fleet, Json, order_of

PASSWORD = "correct horse"


class Person:
    """Asks the services with his own token; as nobody without one."""

    def __init__(self, shop: Fleet, token: str | None = None) -> None:
        self._shop = shop
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(timeout=ANSWER_SECONDS, headers=headers)
        self.token = token
        self.user_id = "guest"
        self.email = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(
        self, method: str, name: str, path: str, body: object = None, *, key: str | None = None
    ) -> httpx.Response:
        """One request; without a body none is sent."""
        headers = {"Idempotency-Key": key} if key else {}
        content = {} if body is None else {"json": body}
        return self._http.request(method, self._shop.url(name, path), headers=headers, **content)

    @contextlib.contextmanager
    def open(
        self, method: str, name: str, path: str, body: object = None
    ) -> Iterator[httpx.Response]:
        """The answer's head, and what comes of its body as it is read."""
        content = {} if body is None else {"json": body}
        with self._http.stream(method, self._shop.url(name, path), **content) as response:
            yield response

    def show(self, name: str, path: str) -> Json:
        """What a service shows him there; it must be there."""
        response = self.ask("GET", name, path)
        assert response.status_code == 200, response.text
        shown: Json = response.json()
        return shown

    def post_order(
        self, *lines: tuple[str, int], key: str | None = None, **fields: Any
    ) -> httpx.Response:
        """Order so many of these products; what is in the cart without any."""
        return self.ask("POST", "order", "/orders", order_of(lines, fields), key=key)

    def order(self, *lines: tuple[str, int], **fields: Any) -> Json:
        """Order, and have it accepted."""
        return accepted(self.post_order(*lines, **fields), 201)

    def add(self, product_id: str, quantity: int = 1) -> Json:
        """Put so many more into the cart."""
        body = {"productId": product_id, "quantity": quantity}
        return accepted(self.ask("POST", "order", "/cart/items", body), 200)

    def cancel(self, order_id: str) -> httpx.Response:
        """Ask for an order to be stopped."""
        return self.ask("POST", "order", f"/orders/{order_id}/cancel", {})

    def cart(self) -> list[tuple[str, int, int]]:
        """What is in the cart: product, quantity, and the price it was put in at."""
        items = self.show("order", "/cart")["items"]
        return [(item["productId"], item["quantity"], item["price"]) for item in items]

    def orders(self) -> list[str]:
        """The ids of his orders, newest first."""
        return [order["orderId"] for order in self.show("order", "/orders")["items"]]


def guest(shop: Fleet) -> Person:
    """Somebody who has not signed in."""
    return Person(shop)


def admin_of(shop: Fleet) -> Person:
    """The one who may do everything."""
    token = shop.admin_headers["Authorization"].removeprefix("Bearer ")
    return Person(shop, token)


def newcomer(shop: Fleet) -> Person:
    """Somebody who registers now, and signs in."""
    account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    with Person(shop) as nobody:
        registered = accepted(nobody.ask("POST", "order", "/auth/register", account), 201)
        tokens = accepted(nobody.ask("POST", "order", "/auth/login", account), 200)
    person = Person(shop, tokens["accessToken"])
    person.user_id = registered["userId"]
    person.email = account["email"]
    return person


def accepted(response: httpx.Response, status: int) -> Json:
    """The answer, which must have this status."""
    assert response.status_code == status, response.text
    body: Json = response.json()
    return body


def refused(response: httpx.Response, status: int, slug: str) -> Json:
    """The problem that the answer is; it must be this one."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    problem: Json = response.json()
    assert problem["type"] == f"urn:quadrille:problem:{slug}"
    return problem
