"""Every route of every service, asked by everyone: what they get is what the table says, and no stranger reads of others."""

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
from tests.support.eventually import eventually
from tests.support.http_clients import PASSWORD, Person, admin_of, guest, newcomer
from tests.support.running_shop import ADMIN_PASSWORD, SERVICES, Fleet, Json

METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}

every_service = pytest.mark.parametrize("service", SERVICES)


class Scene(NamedTuple):
    """Those who ask, and what there is of the owner's and of a guest's."""

    shop: Fleet
    people: dict[str, Person]
    orders: dict[str, str]
    """An order of each: `customer`, `guest`."""
    notification: str

    @property
    def owner(self) -> Person:
        return self.people["owner"]

    def secrets(self) -> list[str]:
        """What is nobody's business but the owner's."""
        return [self.owner.user_id, self.owner.email, self.orders["customer"], self.notification]

    def new_order(self, whose: str) -> str:
        """An order that nothing has happened to."""
        person = self.owner if whose == "customer" else self.people["nobody"]
        order_id: str = person.order(("plenty", 1))["orderId"]
        return order_id

    def new_product(self) -> str:
        product_id = f"p{uuid4().hex}"
        self.shop.post("inventory", "/products", {"productId": product_id, **THING})
        return product_id

    def new_key(self) -> str:
        """A signing key that is not in use yet."""
        key_id: str = self.shop.post("order", "/auth/keys", {}).json()["keyId"]
        return key_id

    def refresh_token(self) -> str:
        """One that is good, of the owner's."""
        response = self.people["nobody"].ask("POST", "order", "/auth/login", credentials(self))
        token: str = response.json()["refreshToken"]
        return token


THING = {"name": "Thing", "price": 100, "stock": 10}
LINE = {"productId": "plenty", "quantity": 1}
BEHAVIOUR = {"successRate": 1, "minDelaySeconds": 600, "maxDelaySeconds": 600}
NOT_HELD = {"source": "order", "position": "1", "event_id": "none"}
REPORT = {"shipmentId": "s1", "status": "failed"}


def credentials(scene: Scene) -> Json:
    return {"email": scene.owner.email, "password": PASSWORD}


def password_change(_: Scene, who: str) -> Json:
    password = ADMIN_PASSWORD if who == "admin" else PASSWORD
    return {"currentPassword": password, "newPassword": password}


def order(scene: Scene, whose: str) -> Json:
    return {"items": [LINE]} | ({"userId": scene.owner.user_id} if whose == "customer" else {})


BODIES: dict[str, Callable[[Scene, Entry, str], Any]] = {
    "POST /auth/register": lambda *_: {"email": f"{uuid4().hex}@example.com", "password": PASSWORD},
    "POST /auth/login": lambda scene, *_: credentials(scene),
    "POST /auth/refresh": lambda scene, *_: {"refreshToken": scene.refresh_token()},
    "POST /auth/logout": lambda scene, *_: {"refreshToken": scene.refresh_token()},
    "PUT /auth/me": lambda *_: {"name": "Somebody"},
    "PUT /auth/password": lambda scene, _, who: password_change(scene, who),
    "POST /cart/items": lambda *_: LINE,
    "PUT /cart/items/{product_id}": lambda *_: {"quantity": 2},
    "POST /orders": lambda scene, entry, _: order(scene, entry.whose),
    "POST /api/orders": lambda scene, entry, _: order(scene, entry.whose),
    "POST /products": lambda *_: THING,
    "PUT /products/{product_id}": lambda *_: {"name": "Thing", "price": 100},
    "POST /products/{product_id}/stock": lambda *_: {"quantity": 1},
    "PUT /carriers/simulated": lambda *_: BEHAVIOUR,
    "POST /carriers/{name}/callbacks": lambda *_: REPORT,
    "POST /events/resend": lambda *_: {"from": 1, "to": 1},
}
"""What is sent where a body must be."""


def address(scene: Scene, entry: Entry) -> str:
    """The entry's path, with what it is about: there is nothing wrong with it but perhaps who asks."""
    parts = {"name": "simulated", "notification_id": scene.notification, **NOT_HELD}
    if "{product_id}" in entry.path:
        in_use = entry.path.startswith("/cart") or entry.method == "GET"
        parts["product_id"] = "plenty" if in_use else scene.new_product()
    if "{key_id}" in entry.path:
        parts["key_id"] = scene.new_key()
    if "{order_id}" in entry.path:
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
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A shop whose carriers take their time, so that an order stays open."""
    slow = {"carrier_min_delay_seconds": 600, "carrier_max_delay_seconds": 600}
    directory = tmp_path_factory.mktemp("shop")
    with Fleet(directory, **slow) as fleet:
        await fleet.start()
        await fleet.stock_up(plenty=100_000)
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shop: Fleet) -> AsyncIterator[Scene]:
    with contextlib.ExitStack() as stack:
        people = {
            "nobody": stack.enter_context(guest(shop)),
            "another": stack.enter_context(newcomer(shop)),
            "owner": stack.enter_context(newcomer(shop)),
            "admin": stack.enter_context(admin_of(shop)),
        }
        people["another"].order(("plenty", 1))
        placed = {
            "customer": people["owner"].order(("plenty", 1), email=people["owner"].email),
            "guest": people["nobody"].order(("plenty", 1), email="guest@example.com"),
        }
        orders = {whose: each["orderId"] for whose, each in placed.items()}
        for order_id in orders.values():
            await shop.until(order_id, "AWAITING_SHIPMENT")
            await eventually(lambda order_id=order_id: is_shipping(shop, order_id))
        notification = await eventually(lambda: first_notification(shop, orders["customer"]))
        yield Scene(shop, people, orders, notification)


def is_shipping(shop: Fleet, order_id: str) -> bool:
    return shop.get("shipping", f"/shipments/{order_id}").status_code == 200


def first_notification(shop: Fleet, order_id: str) -> str | None:
    found = shop.show("notifier", "/notifications", orderId=order_id)["items"]
    return found[-1]["notificationId"] if found else None


def routes_of(shop: Fleet, service: str) -> set[str]:
    paths = shop.show(service, "/schema/openapi.json")["paths"]
    return {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations.keys() & METHODS
    }


@contextlib.contextmanager
def asked(scene: Scene, entry: Entry, who: str) -> Iterator[httpx.Response]:
    """The answer to somebody; a stream's is left at its head."""
    person = scene.people[who]
    path = address(scene, entry)
    if entry.path.startswith("/cart/") and who != "nobody":
        person.add("plenty")
    prepare = BODIES.get(entry.route)
    body = prepare(scene, entry, who) if prepare else None
    with person.open(entry.method, entry.service, path, body) as response:
        if "event-stream" not in response.headers.get("Content-Type", ""):
            response.read()
        yield response


@every_service
async def test_the_table_has_every_route_and_no_other(shop: Fleet, service: str):
    tabled = {entry.route for entry in entries() if entry.service == service}
    assert sorted(tabled ^ routes_of(shop, service)) == []


def test_the_table_says_each_thing_once():
    named = [str(entry) for entry in entries()]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("entry", entries(), ids=str)
async def test_everyone_gets_what_the_table_says(scene: Scene, entry: Entry):
    found = {}
    for who in CALLERS:
        with asked(scene, entry, who) as response:
            found[who] = "ok" if response.is_success else str(response.status_code)
            if not response.is_success:
                assert response.headers["Content-Type"].startswith("application/problem+json")
            if response.status_code == 401:
                assert response.headers.get("WWW-Authenticate", "Bearer") == "Bearer"
    assert found == entry.answers


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.method == "GET"], ids=str)
async def test_no_stranger_reads_what_is_the_owners(scene: Scene, entry: Entry):
    for who in ("nobody", "another"):
        with asked(scene, entry, who) as response:
            if response.is_success and not response.is_stream_consumed:
                continue  # a guest's stream, which the table lets everyone see
            asked_for = str(response.request.url)
            leaked = [
                secret
                for secret in scene.secrets()
                if secret in response.text and secret not in asked_for
            ]
        assert leaked == []


def token_of(shop: Fleet, changes: Json, **how: Any) -> str:
    """The admin's own token, but not quite; signed by our own key unless it says how."""
    good = admin_of(shop).token or ""
    claims = jwt.decode(good, options={"verify_signature": False}) | changes
    key_id, pem = private_key_of(shop)
    how = {"key": pem, "algorithm": "EdDSA", "headers": {"kid": key_id}} | how
    return jwt.encode({name: value for name, value in claims.items() if value}, **how)


def private_key_of(shop: Fleet) -> tuple[str, str]:
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


BAD_TOKENS: dict[str, Callable[[Fleet], str]] = {
    "expired": lambda shop: token_of(shop, {"exp": seconds_from_now(-LEEWAY_SECONDS - 1)}),
    "of the future": lambda shop: token_of(shop, {"iat": seconds_from_now(LEEWAY_SECONDS + 5)}),
    "for too long": lambda shop: token_of(shop, {"exp": seconds_from_now(MAX_TOKEN_SECONDS + 60)}),
    "without start": lambda shop: token_of(shop, {"iat": None}),
    "for another audience": lambda shop: token_of(shop, {"aud": "elsewhere"}),
    "for no audience": lambda shop: token_of(shop, {"aud": None}),
    "without end": lambda shop: token_of(shop, {"exp": None}),
    "of nobody": lambda shop: token_of(shop, {"sub": None}),
    "of another issuer": lambda shop: token_of(shop, {"iss": "elsewhere"}),
    "tampered": lambda shop: tampered(token_of(shop, {})),
    "foreign": lambda shop: token_of(shop, {}, key=Ed25519PrivateKey.generate()),
    "of an unknown key": lambda shop: token_of(shop, {}, headers={"kid": "unknown"}),
    "of no key": lambda shop: token_of(shop, {}, headers={}),
    "unsigned": lambda shop: token_of(shop, {}, key=None, algorithm="none"),
    "signed with what is public": lambda shop: token_of(
        shop, {}, key=public_key_of(shop), algorithm="HS256"
    ),
    "rubbish": lambda _: "rubbish",
}


def public_key_of(shop: Fleet) -> str:
    key: str = shop.show("order", "/.well-known/jwks.json")["keys"][0]["x"]
    return key


async def test_a_token_made_as_the_bad_ones_are_but_good_is_taken(shop: Fleet):
    with Person(shop, token_of(shop, {})) as admin:
        for service in SERVICES:
            assert admin.ask("GET", service, "/health/live").status_code == 200


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_token_that_is_not_ours_is_refused_everywhere(scene: Scene, kind: str):
    with Person(scene.shop, BAD_TOKENS[kind](scene.shop)) as impostor:
        for entry in entries():
            path = entry.path.format(
                product_id="plenty",
                order_id=scene.orders["guest"],
                notification_id=scene.notification,
                name="simulated",
                key_id="some-key",
                **NOT_HELD,
            )
            with impostor.open(entry.method, entry.service, path) as response:
                assert response.status_code == 401, str(entry)
                assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_is_good_in_other_letters_of_its_scheme_only(scene: Scene):
    token = scene.owner.token
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)):
        headers = {"Authorization": f"{scheme} {token}".strip()}
        response = httpx.get(scene.shop.url("order", "/auth/me"), headers=headers)
        assert response.status_code == status
