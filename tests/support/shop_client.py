"""HTTP requests to the shop's services, by a guest or by the user whose token is given."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.support.addresses import ADDRESS_BODY

TIMEOUT_SECONDS = 60
PASSWORD = "correct horse"

Json = dict[str, Any]


class ShopClient:
    """One user of one shop; `url_of` gives the address of a path of a service."""

    def __init__(
        self,
        url_of: Callable[[str, str], str],
        token: str | Callable[[], str | None] | None = None,
        *,
        user_id: str = "guest",
        email: str = "",
    ) -> None:
        self._url_of = url_of
        self._token = token
        # Reading the system's certificates would take longer than most requests.
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, verify=False)
        self.user_id = user_id
        self.email = email

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def token(self) -> str | None:
        return self._token() if callable(self._token) else self._token

    @property
    def headers(self) -> dict[str, str]:
        token = self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def ask(
        self,
        method: str,
        service: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """A request with `body` as JSON, if there is one, and `key` as Idempotency-Key; options are httpx's."""
        headers = self.headers | options.pop("headers", {})
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            options["json"] = body
        return self._http.request(method, self._url_of(service, path), headers=headers, **options)

    def get(self, service: str, path: str, **params: Any) -> httpx.Response:
        return self.ask("GET", service, path, params=params)

    def show(self, service: str, path: str, **params: Any) -> Json:
        """The document at this path; it must exist."""
        return accepted(self.get(service, path, **params), 200)

    def post(
        self, service: str, path: str, body: object = None, *, key: str | None = None
    ) -> httpx.Response:
        return self.ask("POST", service, path, body, key=key)

    def post_raw(self, service: str, path: str, content: bytes) -> httpx.Response:
        """A body that need not be JSON, declared as JSON."""
        headers = {"Content-Type": "application/json"} | self.headers
        return self._http.post(self._url_of(service, path), content=content, headers=headers)

    def put(self, service: str, path: str, body: object) -> httpx.Response:
        return self.ask("PUT", service, path, body)

    @contextmanager
    def stream(
        self, method: str, service: str, path: str, body: object = None
    ) -> Iterator[httpx.Response]:
        """The head of the response; its body arrives as it is read."""
        content = {} if body is None else {"json": body}
        url = self._url_of(service, path)
        with self._http.stream(method, url, headers=self.headers, **content) as response:
            yield response

    def watch(self, path: str, *until: str, after: Json | None = None) -> list[Json]:
        """The events on a stream of the read API, without those of mails, until there was one of each type.

        Each has the `streamId` with which the stream can be resumed after it.
        """
        events: list[Json] = []
        awaited = set(until)
        headers = self.headers | ({"Last-Event-ID": after["streamId"]} if after else {})
        stream_id = ""
        with self._http.stream("GET", self._url_of("read", path), headers=headers) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    stream_id = value
                if name == "data" and value:
                    events.append({"streamId": stream_id, **json.loads(value)})
                    awaited.discard(events[-1]["type"])
                if not awaited:
                    break
        return [event for event in events if event["source"] != "notifier"]

    def post_order(
        self, *lines: tuple[str, int], key: str | None = None, **fields: Any
    ) -> httpx.Response:
        """Order these quantities of these products; without any, what is in the cart."""
        return self.post("order", "/orders", order_of(lines, fields), key=key)

    def order(self, *lines: tuple[str, int], **fields: Any) -> Json:
        """Place an order that must be accepted."""
        return accepted(self.post_order(*lines, **fields), 201)

    def order_with_retries(self, *lines: tuple[str, int], **fields: Any) -> Json:
        """Repeat an order under one key until there is an answer, as a client does that may have missed one."""
        key = str(uuid4())
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                response = self.post_order(*lines, key=key, **fields)
                if response.status_code not in {409, 503}:
                    return accepted(response, 201)
            time.sleep(0.02)
        raise AssertionError(f"no answer to {key} within {TIMEOUT_SECONDS} s")

    def check_out(self, *, key: str | None = None) -> httpx.Response:
        """Order what is in the cart."""
        return self.post("order", "/cart/checkout", {"shippingAddress": ADDRESS_BODY}, key=key)

    def cancel(self, order_id: str) -> httpx.Response:
        return self.post("order", f"/orders/{order_id}/cancel", {})

    def orders(self) -> list[str]:
        """The ids of the user's orders, newest first."""
        return [order["orderId"] for order in self.show("order", "/orders")["items"]]

    def add(self, product_id: str, quantity: int = 1) -> Json:
        body = {"productId": product_id, "quantity": quantity}
        return accepted(self.post("order", "/cart/items", body), 200)

    def cart(self) -> list[tuple[str, int, int]]:
        """The cart's lines: product, quantity, and the price when it was added."""
        items = self.show("order", "/cart")["items"]
        return [(item["productId"], item["quantity"], item["price"]) for item in items]

    def login(self, email: str, password: str) -> Json:
        account = {"email": email, "password": password}
        response = self._http.post(self._url_of("order", "/auth/login"), json=account)
        return accepted(response, 200)

    def sign_in_again(self) -> None:
        """As a customer whose tokens were revoked."""
        self._token = self.login(self.email, PASSWORD)["accessToken"]

    def new_customer(self) -> "ShopClient":
        """The client of a customer who registers and signs in now."""
        account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
        customer = accepted(self.post("order", "/auth/register", account), 201)
        token = self.login(**account)["accessToken"]
        return ShopClient(self._url_of, token, user_id=customer["userId"], email=account["email"])


def order_of(lines: Sequence[tuple[str, int]], fields: Mapping[str, Any]) -> Json:
    items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in lines]
    return {"items": items, "shippingAddress": ADDRESS_BODY, **fields}


def accepted(response: httpx.Response, status: int) -> Json:
    """The document of a response that must have this status."""
    assert response.status_code == status, response.text
    document: Json = response.json()
    return document


def rejected(response: httpx.Response, status: int, slug: str) -> Json:
    """The problem document of a response that must be this problem."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    problem: Json = response.json()
    assert problem["type"] == f"urn:quadrille:problem:{slug}"
    return problem
