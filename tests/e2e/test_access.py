"""Every route of every service answers every caller as the access table has it, and reveals nothing of others."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.chassis.http.auth import LEEWAY_SECONDS, MAX_TOKEN_SECONDS
from shared.chassis.messages.clock import now
from tests.e2e.access_table import CALLERS, Entry, entries
from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.running_shop import RunningShop
from tests.support.shop_client import PASSWORD, Json, ShopClient, accepted
from tests.support.shop_expectations import SERVICES

METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}

every_service = pytest.mark.parametrize("service", SERVICES)


class Scene(NamedTuple):
    """The callers, and entities of the owner and of a guest."""

    shop: RunningShop
    callers: dict[str, ShopClient]
    orders: dict[str, str]
    """The id of an order by its owner: `customer`, `guest`."""
    notification: str

    @property
    def owner(self) -> ShopClient:
        return self.callers["owner"]

    def secrets(self) -> list[str]:
        """Texts that only the owner may read."""
        return [self.owner.user_id, self.owner.email, self.orders["customer"], self.notification]

    def new_order(self, whose: str) -> str:
        """The id of a new order."""
        client = self.owner if whose == "customer" else self.callers["nobody"]
        order_id: str = client.order(("plenty", 1))["orderId"]
        return order_id

    def new_product(self) -> str:
        product_id = f"p{uuid4().hex}"
        self.shop.admin.post("inventory", "/products", {"productId": product_id, **THING})
        return product_id

    def new_key(self) -> str:
        """The id of a signing key that is not in use yet."""
        key_id: str = self.shop.admin.post("order", "/auth/keys", {}).json()["keyId"]
        return key_id

    def fresh(self, caller: str) -> ShopClient:
        """Another account of the caller's role, whose sessions the request may end."""
        role = caller if caller in {"admin", "operator"} else "customer"
        return with_role(self.shop, role)

    def new_address(self) -> str:
        """The name of an address that only the owner has."""
        name = uuid4().hex
        body = {"name": name, "address": ADDRESS_BODY}
        assert self.owner.post("order", "/me/addresses", body).status_code == 201
        return name

    def refresh_token(self) -> str:
        """A valid one of the owner."""
        token: str = self.callers["nobody"].login(**credentials(self))["refreshToken"]
        return token


THING = {"name": "Thing", "price": 100, "stock": 10}
LINE = {"productId": "plenty", "quantity": 1}
BEHAVIOUR = {"successRate": 1, "minDelaySeconds": 600, "maxDelaySeconds": 600}
NOT_HELD = {"source": "order", "position": "1", "event_id": "none"}
CONTRACT = {"event_type": "OrderCreated", "document": "1.json"}
NO_TASK = {"kind": "mail", "key": "none"}
NO_LETTER = {"entity": "none", "redrive_id": "none"}
REPORT = {"shipmentId": "s1", "status": "failed"}


def credentials(scene: Scene) -> Json:
    return {"email": scene.owner.email, "password": PASSWORD}


def with_role(shop: RunningShop, role: str) -> ShopClient:
    """The client of a new account with this role."""
    client = shop.guest.new_customer()
    if role == "customer":
        return client
    change = {"email": client.email, "role": role, "evenIfUnverified": True}
    accepted(shop.admin.put("order", "/auth/roles", change), 200)
    client.sign_in_again()
    return client


def order(scene: Scene, whose: str) -> Json:
    return {"items": [LINE], "shippingAddress": ADDRESS_BODY} | (
        {"userId": scene.owner.user_id} if whose == "customer" else {}
    )


BODIES: dict[str, Callable[[Scene, Entry, str], Any]] = {
    "POST /auth/register": lambda *_: {"email": f"{uuid4().hex}@example.com", "password": PASSWORD},
    "POST /auth/login": lambda scene, *_: credentials(scene),
    "POST /auth/refresh": lambda scene, *_: {"refreshToken": scene.refresh_token()},
    "POST /auth/logout": lambda scene, *_: {"refreshToken": scene.refresh_token()},
    "PUT /auth/me": lambda *_: {"name": "Somebody"},
    "PUT /auth/password": lambda *_: {"currentPassword": PASSWORD, "newPassword": PASSWORD},
    "POST /auth/password-reset": lambda *_: {"email": f"{uuid4().hex}@example.com"},
    "POST /auth/password-reset/confirm": lambda *_: {"link": "x", "newPassword": PASSWORD},
    "POST /auth/email-verification/confirm": lambda *_: {"link": "x"},
    "PUT /auth/roles": lambda scene, *_: {"email": scene.owner.email, "role": "customer"},
    "POST /cart/items": lambda *_: LINE,
    "PUT /cart/items/{product_id}": lambda *_: {"quantity": 2},
    "POST /me/addresses": lambda *_: {"name": uuid4().hex, "address": ADDRESS_BODY},
    "PUT /me/addresses/{address_name}": lambda *_: ADDRESS_BODY,
    "POST /cart/checkout": lambda *_: {"shippingAddress": ADDRESS_BODY},
    "POST /orders": lambda scene, entry, _: order(scene, entry.whose),
    "POST /api/orders": lambda scene, entry, _: order(scene, entry.whose),
    "POST /products": lambda *_: THING,
    "PUT /products/{product_id}": lambda *_: {"name": "Thing", "price": 100},
    "POST /products/{product_id}/stock": lambda *_: {"quantity": 1},
    "PUT /carriers/simulated": lambda *_: BEHAVIOUR,
    "POST /carriers/{name}/callbacks": lambda *_: REPORT,
    "POST /shipments/{order_id}/settle": lambda *_: {"outcome": "delivered"},
    "POST /dead-letters/{entity}/discard": lambda *_: {"eventId": "none", "reason": "a test"},
    "POST /redrives": lambda *_: {"type": "NoSuchEvent"},
    "POST /events/resend": lambda *_: {"from": 1, "to": 1},
    "POST /tasks/{kind}/{key}/give-up": lambda *_: {"reason": "nobody is there"},
}
"""Valid bodies by route."""


def address(scene: Scene, entry: Entry) -> str:
    """The entry's path for existing entities: only the caller can be wrong."""
    parts = {
        "name": "simulated",
        "notification_id": scene.notification,
        "user_id": scene.owner.user_id,
        **NOT_HELD,
        **NO_TASK,
        **NO_LETTER,
        **CONTRACT,
    }
    if "{product_id}" in entry.path:
        in_use = entry.path.startswith("/cart") or entry.method == "GET"
        parts["product_id"] = "plenty" if in_use else scene.new_product()
    if "{key_id}" in entry.path:
        parts["key_id"] = scene.new_key()
    if "{address_name}" in entry.path:
        parts["address_name"] = scene.new_address()
    if "{order_id}" in entry.path and entry.whose == "-":
        parts["order_id"] = "none"
    elif "{order_id}" in entry.path:
        in_use = entry.method == "GET"
        parts["order_id"] = scene.orders[entry.whose] if in_use else scene.new_order(entry.whose)
    path = entry.path.format(**parts)
    if entry.whose == "customer" and entry.method == "GET" and "{" not in entry.path:
        name, value = "userId", scene.owner.user_id
        if entry.service == "notifier":
            name, value = "orderId", scene.orders["customer"]
        path += f"?{name}={value}"
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningShop]:
    """A shop whose carrier needs ten minutes, so that orders stay open."""
    slow = {"carrier_min_delay_seconds": 600, "carrier_max_delay_seconds": 600}
    directory = tmp_path_factory.mktemp("shop")
    with RunningShop(directory, **slow) as shop:
        await shop.start()
        await shop.stock_up(plenty=100_000)
        yield shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shop: RunningShop) -> AsyncIterator[Scene]:
    with (
        shop.guest.new_customer() as another,
        shop.guest.new_customer() as owner,
        with_role(shop, "operator") as operator,
    ):
        callers = {
            "nobody": shop.guest,
            "another": another,
            "owner": owner,
            "admin": shop.admin,
            "operator": operator,
        }
        another.order(("plenty", 1))
        orders = {
            "customer": owner.order(("plenty", 1), email=owner.email)["orderId"],
            "guest": shop.guest.order(("plenty", 1), email="guest@example.com")["orderId"],
        }
        for order_id in orders.values():
            await shop.until(order_id, "AWAITING_SHIPMENT")
            await eventually(lambda order_id=order_id: is_shipping(shop, order_id))
        notification = await eventually(lambda: first_notification(shop, orders["customer"]))
        yield Scene(shop, callers, orders, notification)


def is_idle(shop: RunningShop, service: str) -> bool:
    """Whether no rebuild runs that would reject another."""
    return shop.admin.show(service, "/rebuild")["current"] is None


def is_shipping(shop: RunningShop, order_id: str) -> bool:
    return shop.admin.get("shipping", f"/shipments/{order_id}").status_code == 200


def first_notification(shop: RunningShop, order_id: str) -> str | None:
    items = shop.admin.show("notifier", "/notifications", orderId=order_id)["items"]
    return items[-1]["notificationId"] if items else None


def routes_of(shop: RunningShop, service: str) -> set[str]:
    paths = shop.admin.show(service, "/schema/openapi.json")["paths"]
    return {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations.keys() & METHODS
    }


@contextlib.contextmanager
def response_to(scene: Scene, entry: Entry, caller: str) -> Iterator[httpx.Response]:
    """The response, read to its end unless it is a stream."""
    if entry.route == "PUT /auth/password" and caller != "nobody":
        with scene.fresh(caller) as client, response_by(client, scene, entry, caller) as response:
            yield response
    else:
        with response_by(scene.callers[caller], scene, entry, caller) as response:
            yield response


@contextlib.contextmanager
def response_by(
    client: ShopClient, scene: Scene, entry: Entry, caller: str
) -> Iterator[httpx.Response]:
    path = address(scene, entry)
    if entry.path.startswith("/cart/") and caller != "nobody":
        client.add("plenty")
    prepare = BODIES.get(entry.route)
    body = prepare(scene, entry, caller) if prepare else None
    with client.stream(entry.method, entry.service, path, body) as response:
        if "event-stream" not in response.headers.get("Content-Type", ""):
            response.read()
        yield response


@every_service
async def test_access_table_has_exactly_all_routes(shop: RunningShop, service: str):
    in_table = {entry.route for entry in entries() if entry.service == service}
    in_table -= {route for route in in_table if route.split()[1].startswith("/api/")}
    assert sorted(in_table ^ routes_of(shop, service)) == []


def test_access_table_has_no_duplicate_rows():
    rows = [str(entry) for entry in entries()]
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("entry", entries(), ids=str)
async def test_callers_get_answers_of_access_table(scene: Scene, entry: Entry):
    answers = {}
    for caller in CALLERS:
        if entry.route == "POST /rebuild":
            await eventually(lambda: is_idle(scene.shop, entry.service))
        with response_to(scene, entry, caller) as response:
            answers[caller] = "ok" if response.is_success else str(response.status_code)
            if not response.is_success:
                assert response.headers["Content-Type"].startswith("application/problem+json")
            if response.status_code == 401:
                assert response.headers.get("WWW-Authenticate", "Bearer") == "Bearer"
    assert answers == entry.answers


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.method == "GET"], ids=str)
async def test_responses_to_others_reveal_no_owner_data(scene: Scene, entry: Entry):
    for caller in ("nobody", "another"):
        with response_to(scene, entry, caller) as response:
            if response.is_success and not response.is_stream_consumed:
                continue  # a guest's stream, which everyone may read
            url = str(response.request.url)
            leaked = [
                secret
                for secret in scene.secrets()
                if secret in response.text and secret not in url
            ]
        assert leaked == []


def token_of(shop: RunningShop, changes: Json, **options: Any) -> str:
    """The admin's token with other claims, signed by the shop's key unless the options name another."""
    valid = shop.admin.token or ""
    claims = jwt.decode(valid, options={"verify_signature": False}) | changes
    key_id, pem = private_key_of(shop)
    options = {"key": pem, "algorithm": "EdDSA", "headers": {"kid": key_id}} | options
    return jwt.encode({name: value for name, value in claims.items() if value}, **options)


def private_key_of(shop: RunningShop) -> tuple[str, str]:
    with contextlib.closing(sqlite3.connect(shop.data_dir / "order.db")) as connection:
        query = "SELECT key_id, private_key FROM private_keys ORDER BY created_at"
        key_id, pem = connection.execute(query).fetchone()
    return key_id, pem


def seconds_from_now(seconds: float) -> int:
    return int(now().timestamp() + seconds)


def tampered(token: str) -> str:
    start, _, signature = token.rpartition(".")
    other = "B" if signature[10] == "A" else "A"
    return f"{start}.{signature[:10]}{other}{signature[11:]}"


INVALID_TOKENS: dict[str, Callable[[RunningShop], str]] = {
    "expired": lambda shop: token_of(shop, {"exp": seconds_from_now(-LEEWAY_SECONDS - 1)}),
    "issued in the future": lambda shop: token_of(
        shop, {"iat": seconds_from_now(LEEWAY_SECONDS + 5)}
    ),
    "valid for too long": lambda shop: token_of(
        shop, {"exp": seconds_from_now(MAX_TOKEN_SECONDS + 60)}
    ),
    "without issue time": lambda shop: token_of(shop, {"iat": None}),
    "for another audience": lambda shop: token_of(shop, {"aud": "elsewhere"}),
    "for no audience": lambda shop: token_of(shop, {"aud": None}),
    "without expiry": lambda shop: token_of(shop, {"exp": None}),
    "without subject": lambda shop: token_of(shop, {"sub": None}),
    "of another issuer": lambda shop: token_of(shop, {"iss": "elsewhere"}),
    "tampered": lambda shop: tampered(token_of(shop, {})),
    "with a foreign key": lambda shop: token_of(shop, {}, key=Ed25519PrivateKey.generate()),
    "of an unknown key": lambda shop: token_of(shop, {}, headers={"kid": "unknown"}),
    "without key id": lambda shop: token_of(shop, {}, headers={}),
    "unsigned": lambda shop: token_of(shop, {}, key=None, algorithm="none"),
    "signed with the public key": lambda shop: token_of(
        shop, {}, key=public_key_of(shop), algorithm="HS256"
    ),
    "malformed": lambda _: "malformed",
}


def public_key_of(shop: RunningShop) -> str:
    key: str = shop.admin.show("order", "/.well-known/jwks.json")["keys"][0]["x"]
    return key


async def test_unchanged_token_of_same_making_is_accepted(shop: RunningShop):
    with ShopClient(shop.url, token_of(shop, {})) as admin:
        for service in SERVICES:
            assert admin.ask("GET", service, "/health/live").status_code == 200


@pytest.mark.parametrize("kind", INVALID_TOKENS)
async def test_invalid_token_is_rejected_by_every_route(scene: Scene, kind: str):
    with ShopClient(scene.shop.url, INVALID_TOKENS[kind](scene.shop)) as client:
        for entry in entries():
            path = entry.path.format(
                product_id="plenty",
                order_id=scene.orders["guest"],
                notification_id=scene.notification,
                user_id=scene.owner.user_id,
                name="simulated",
                key_id="some-key",
                address_name="home",
                **CONTRACT,
                **NOT_HELD,
                **NO_TASK,
                **NO_LETTER,
            )
            with client.stream(entry.method, entry.service, path) as response:
                assert response.status_code == 401, str(entry)
                assert response.headers["WWW-Authenticate"] == "Bearer"


def test_authorization_scheme_ignores_case_only(scene: Scene):
    token = scene.owner.token
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)):
        headers = {"Authorization": f"{scheme} {token}".strip()}
        response = httpx.get(scene.shop.url("order", "/auth/me"), headers=headers)
        assert response.status_code == status
