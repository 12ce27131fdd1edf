"""Who may see what at the read API, and consistency tokens, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from shared.chassis.http.auth import LEEWAY_SECONDS
from shared.chassis.http.links import Purpose, sign
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.jetstream.connection import JetStreamConnection
from shared.chassis.messages.clock import now
from shared.chassis.messages.identity_events import LinkKeyPublished, TokensRevoked
from shared.chassis.messages.system_events import EventDeadLettered
from shared.contracts import (
    Address,
    AddressRemoved,
    AddressSaved,
    CartCleared,
    CustomerRegistered,
    CustomerRoleChanged,
    ItemAddedToCart,
    OrderCancelled,
    OrderCreated,
    OrderItem,
    OrderNudged,
    ProductCreated,
    ProductDeleted,
    ShipmentInitiated,
    StockAdded,
)
from shared.order_number import order_number
from shared.settings import ShopSettings
from tests.support.access import Issuer
from tests.support.addresses import ADDRESS
from tests.support.broker import NatsServer
from tests.support.chassis import publishing
from tests.support.histories import Log, log_of
from tests.support.history import recorded
from tests.support.read_api_process import ReadApi, read_api
from tests.support.settings import settings_for

NOBODY: dict[str, str] = {}
ADMINS_ONLY = (
    "/inventory",
    "/shipments",
    "/customers",
    "/carts",
    "/marketing/overview",
    "/marketing/customers",
    "/marketing/products",
    "/marketing/daily",
    "/dashboard",
    "/events",
)
OF_AN_ORDER = ("", "/timeline", "/stream")


@pytest.fixture
async def reader(shop_settings: ShopSettings) -> AsyncIterator[ReadApi]:
    with read_api(shop_settings) as process:
        await process.until_ready()
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle_reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReadApi]:
    """For requests that need no events."""
    directory = tmp_path_factory.mktemp("idle")
    broker = NatsServer(directory / "nats")
    broker.start()
    try:
        with read_api(settings_for(directory, broker.url)) as process:
            await process.until_ready()
            yield process
    finally:
        broker.terminate()


@pytest.fixture
async def shop(shop_settings: ShopSettings) -> AsyncIterator[JetStreamConnection]:
    async with publishing(shop_settings) as broker:
        yield broker


def created(order_id: str, user_id: str, *, guest: bool = False) -> OrderCreated:
    item = OrderItem(product_id="lamp", name="Lamp", quantity=2, price=100)
    return OrderCreated(
        order_id=order_id,
        user_id=user_id,
        guest=guest,
        items=(item,),
        total_amount=200,
        currency="JPY",
    )


def history() -> Log:
    """Orders of jane, of joe, and of a guest whose label is jane."""
    log = log_of(
        "order",
        CustomerRegistered(user_id="jane", email="jane@example.com", name="Jane"),
        created("of-jane", "jane"),
        created("of-joe", "joe"),
        created("of-guest", "jane", guest=True),
        CartCleared(user_id="jane", order_id="of-guest"),
        EventDeadLettered(event_id="e1", key="of-guest", error="joe@example.com is unreadable"),
    )
    return [*log[:4], *(replace(event, correlation_id="of-guest") for event in log[4:])]


async def status(reader: ReadApi, path: str, by: dict[str, str], **query: Any) -> int:
    """The status of the answer; a stream is closed after it."""
    async with asyncio.timeout(30):
        if path.endswith("/stream"):
            return await reader.status_of_stream(path, by, **query)
        return (await reader.ask(path, by, **query)).status_code


async def test_orders_are_visible_to_their_owners_and_admins(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    jane, joe = reader.customer("jane"), reader.customer("joe")
    assert await shop.publish(history())
    assert (await reader.ask("/orders", after="order:6")).status_code == 200

    async def listed(by: dict[str, str], **query: Any) -> list[str]:
        response = await reader.ask("/orders", by, **query)
        assert response.status_code == 200, response.text
        return [order["orderId"] for order in response.json()["items"]]

    assert await listed(jane) == await listed(jane, userId="jane") == ["of-jane"]
    assert await listed(joe) == ["of-joe"]
    assert await listed(reader.admin) == ["of-guest", "of-joe", "of-jane"]
    assert await listed(reader.admin, userId="jane") == ["of-guest", "of-jane"]
    number = order_number("of-joe")
    assert await listed(joe, number=number.lower()) == await listed(reader.admin, number=number)
    assert await listed(joe, number=number) == ["of-joe"]
    assert await listed(jane, number=number) == []
    assert await listed(jane, number=order_number("of-guest")) == []
    assert await status(reader, "/orders", NOBODY, number=number) == 401
    assert await status(reader, "/orders", jane, userId="joe") == 403
    assert await status(reader, "/orders", NOBODY) == 401
    for page in OF_AN_ORDER:
        for by in (NOBODY, jane, joe, reader.admin):
            assert await status(reader, f"/orders/of-guest{page}", by) == 200
        for by, code in ((NOBODY, 404), (joe, 404), (jane, 200), (reader.admin, 200)):
            assert await status(reader, f"/orders/of-jane{page}", by) == code
    strange = await reader.ask("/orders/of-jane", joe)
    missing = await reader.ask("/orders/of-nobody", joe)
    assert strange.json() | {"detail": ""} == missing.json() | {"detail": ""}
    order = (await reader.ask("/orders/of-guest", NOBODY)).json()
    assert (order["guest"], order["userId"]) == (True, "jane")


async def test_orders_are_found_by_product_and_address(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    def order(order_id: str, user_id: str, email: str | None = None, *, guest: bool = False):
        return replace(created(order_id, user_id, guest=guest), email=email)

    lines = (OrderItem(product_id="chair", quantity=1, price=1),) * 2
    log = log_of(
        "order",
        CustomerRegistered(user_id="jane", email="jane@example.com"),
        order("o1", "jane"),
        order("o2", "guest", "Jane@Example.com", guest=True),
        order("o3", "jane", "jane@example.com"),
        order("o4", "jane", "boss@example.com"),
        order("o5", "jane", "joe@example.com", guest=True),
        replace(order("o6", "joe"), items=lines),
    )
    assert await shop.publish(log)

    async def ids(by: dict[str, str], **query: Any) -> list[str]:
        """Of pages of two."""
        listed: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = await reader.ask("/orders", by, after="order:7", limit=2, **query, **cursor)
            page = answer.json()
            listed += [order["orderId"] for order in page["items"]]
            if page["nextCursor"] is None:
                return listed
            cursor = {"cursor": page["nextCursor"]}

    admin, jane, joe = reader.admin, reader.customer("jane"), reader.customer("joe")
    assert await ids(admin, email="JANE@example.com") == ["o4", "o3", "o2", "o1"]
    assert await ids(admin, email="joe@example.com", status="PENDING") == ["o5"]
    assert await ids(admin, email="jane@example.com", productId="chair") == []
    assert await ids(admin, email="ane@example.com") == []
    for by in (admin, reader.issuer.headers("op", "operator")):
        assert await ids(by, email="boss@example.com") == ["o4"]
        assert await ids(by, productId="lamp") == ["o5", "o4", "o3", "o2", "o1"]
    assert await ids(admin, productId="lamp", userId="jane") == ["o5", "o4", "o3", "o1"]
    assert await ids(admin, productId="chair", status="PENDING") == ["o6"]
    assert await ids(admin, productId="chair", status="COMPLETED") == []
    assert await ids(jane, productId="lamp") == ["o4", "o3", "o1"]
    assert await ids(joe, productId="lamp") == []
    assert await status(reader, "/orders", jane, email="jane@example.com") == 403


async def test_timeline_shows_foreign_events_to_admins_only(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    assert await shop.publish(history())

    async def visible_types(by: dict[str, str]) -> list[str]:
        timeline = await reader.ask("/orders/of-guest/timeline", by, after="order:6")
        types = [event["type"] for event in timeline.json()["items"]]
        async with reader.stream("/orders/of-guest/stream", by=by) as messages:
            await anext(messages)
            assert [(await anext(messages))["event"] for _ in types] == types
        return types

    assert await visible_types(NOBODY) == ["OrderCreated"]
    assert await visible_types(reader.customer("jane")) == ["OrderCreated"]
    assert await visible_types(reader.admin) == ["OrderCreated", "CartCleared", "EventDeadLettered"]


async def test_ids_of_other_accounts_are_for_admins_only(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    log = log_of(
        "order",
        created("of-jane", "jane"),
        OrderNudged(order_id="of-jane"),
        OrderNudged(order_id="of-jane"),
        created("of-guest", "guest", guest=True),
        OrderNudged(order_id="of-guest"),
    )
    actors = ("customer:jane", "admin:a1", "deadline", "guest", "customer:jane")
    events = [replace(event, actor=actor) for event, actor in zip(log, actors, strict=True)]
    assert await shop.publish(events)

    async def visible(order_id: str, by: dict[str, str]) -> list[str]:
        timeline = await reader.ask(f"/orders/{order_id}/timeline", by, after="order:5")
        actors = [event["actor"] for event in timeline.json()["items"]]
        messages = await reader.read_stream(f"/orders/{order_id}/stream", by, len(actors))
        assert [message["data"]["actor"] for message in messages] == actors
        return actors

    jane, joe = reader.customer("jane"), reader.customer("joe")
    assert await visible("of-jane", jane) == ["customer:jane", "admin", "deadline"]
    assert await visible("of-jane", reader.admin) == list(actors[:3])
    assert await visible("of-guest", joe) == ["guest", "customer"]
    assert await visible("of-guest", jane) == ["guest", "customer:jane"]


async def test_stream_waits_for_an_order_just_placed(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    async with asyncio.timeout(30):
        opening = asyncio.create_task(
            reader.read_stream("/orders/of-guest/stream", NOBODY, number=1)
        )
        await asyncio.sleep(0.3)  # shows that the request is not answered with 404
        assert not opening.done()
        assert await shop.publish(history())
        [message] = await opening
    assert message["event"] == "OrderCreated"


@pytest.mark.parametrize("path", ["/events/stream", "/orders/of-guest/stream"])
async def test_stream_ends_when_its_token_expires(
    path: str, reader: ReadApi, shop: JetStreamConnection
) -> None:
    *log, last = history()
    assert await shop.publish(log)
    assert (await reader.ask("/orders", after="order:5")).status_code == 200
    nearly_over = reader.issuer.headers_with(
        iat=now() - timedelta(minutes=15), exp=now() - timedelta(seconds=LEEWAY_SECONDS - 2)
    )
    async with (
        asyncio.timeout(30),
        reader.stream("/orders/of-guest/stream", by=NOBODY) as guests,
        reader.stream(path, by=nearly_over) as messages,
    ):
        assert [message async for message in messages]
        assert await reader.status_of_stream(path, nearly_over) == 401
        await anext(guests)
        assert (await anext(guests))["event"] == "OrderCreated"
        cancelled = OrderCancelled(order_id="of-guest", reason="CUSTOMER")
        assert await shop.publish([last, recorded(cancelled, position=7)])
        assert (await anext(guests))["event"] == "OrderCancelled"


async def test_stream_ends_when_its_key_is_revoked(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    successor = Issuer()
    async with asyncio.timeout(30), reader.stream("/events/stream") as messages:
        await anext(messages)
        assert await shop.publish([recorded(successor.vouched_by(reader.issuer), position=1)])
        assert (await anext(messages))["event"] == "SigningKeyPublished"
        revocation = successor.revoke(reader.issuer.key_id)
        assert await shop.publish([recorded(revocation, position=2)])
        assert [message async for message in messages] == []


@pytest.mark.parametrize("path", ["/events/stream", "/orders/of-guest/stream"])
async def test_stream_ends_when_its_token_is_revoked(
    path: str, reader: ReadApi, shop: JetStreamConnection
) -> None:
    *log, _ = history()
    assert await shop.publish(log)
    assert (await reader.ask("/orders", after="order:5")).status_code == 200
    root = reader.issuer.headers("root", "admin")
    revoked = TokensRevoked(user_id="root", token_version=1)
    async with (
        asyncio.timeout(30),
        reader.stream(path, by=reader.admin) as others,
        reader.stream(path, by=root) as messages,
    ):
        await anext(messages)
        await anext(others)
        assert await shop.publish([recorded(revoked, position=6)])
        assert "TokensRevoked" not in [message.get("event") async for message in messages]
        assert await reader.status_of_stream(path, root) == 401
        if path == "/events/stream":
            assert (await anext(others))["event"] == "TokensRevoked"


async def test_shop_wide_queries_are_for_admins_only(reader: ReadApi) -> None:
    jane = reader.customer("jane")
    for path in (*ADMINS_ONLY, "/events/stream"):
        for by, code in ((NOBODY, 401), (jane, 403), (reader.admin, 200)):
            assert (path, await status(reader, path, by)) == (path, code)
    for by in (NOBODY, jane, reader.admin):
        assert await status(reader, "/products", by) == 200
        assert await status(reader, "/products/none", by) == 404


async def test_event_stream_accepts_token_in_query(reader: ReadApi) -> None:
    token = reader.admin["Authorization"].removeprefix("Bearer ")
    assert await status(reader, "/events/stream", NOBODY, accessToken=token) == 200
    assert await status(reader, "/events/stream", NOBODY, accessToken="invalid") == 401
    assert await status(reader, "/events", NOBODY, accessToken=token) == 400


async def test_customers_are_searched_by_name_and_address(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    people = [
        CustomerRegistered(user_id=f"u{number}", email=f"u{number}@example.com", name=name)
        for number, name in enumerate(("Jane Doe", "花子", "Joe 100%"))
    ]
    assert await shop.publish(log_of("order", *people))

    async def search(**query: Any) -> list[str]:
        page = await reader.get("/customers", after="order:3", **query)
        return [customer["userId"] for customer in page["items"]]

    assert await search() == ["u2", "u1", "u0"]
    assert await search(q="jane DOE") == ["u0"]
    assert await search(q="花") == ["u1"]
    assert await search(q="%") == ["u2"]
    assert await search(q="u1@example") == ["u1"]
    first = await reader.get("/customers", limit=2)
    rest = await reader.get("/customers", limit=2, cursor=first["nextCursor"])
    assert [customer["userId"] for customer in (*first["items"], *rest["items"])] == [
        "u2",
        "u1",
        "u0",
    ]


async def test_link_shows_its_order_only(reader: ReadApi, shop: JetStreamConnection) -> None:
    item = OrderItem(product_id="lamp", quantity=2, price=100)
    order = OrderCreated(
        order_id="o1", user_id="jane", items=(item,), total_amount=200, currency="JPY"
    )
    signer, in_an_hour = TokenSigner.generate(), now() + timedelta(hours=1)
    key = LinkKeyPublished(key_id=signer.key_id, public_key=signer.public_key)
    assert await shop.publish(log_of("notifier", key))
    assert await shop.publish(log_of("order", order, replace(order, order_id="o2")))
    link = sign(signer, Purpose.ORDER, "o1", in_an_hour)
    after = "order:2,notifier:1"
    answer = await reader.get("/orders/o1", by=NOBODY, link=link, after=after)
    assert answer["orderId"] == "o1"
    assert await status(reader, "/orders/o1", NOBODY) == 404
    refused = {
        "another order": link,
        "another purpose": sign(signer, Purpose.PASSWORD_RESET, "o2", in_an_hour),
        "expired": sign(signer, Purpose.ORDER, "o2", now() - timedelta(hours=1)),
        "another key": sign(TokenSigner.generate(), Purpose.ORDER, "o2", in_an_hour),
        "malformed": "x",
    }
    for reason, wrong in refused.items():
        assert (reason, await status(reader, "/orders/o2", NOBODY, link=wrong)) == (reason, 403)


async def test_customer_exports_all_own_data(reader: ReadApi, shop: JetStreamConnection) -> None:
    jane, home = "jane", replace(ADDRESS, city="Kyoto")
    item = OrderItem(product_id="lamp", quantity=2, price=100)
    order = OrderCreated(
        order_id="o1",
        user_id=jane,
        items=(item,),
        total_amount=200,
        currency="JPY",
        shipping_address=home,
    )
    log = log_of(
        "order",
        CustomerRegistered(user_id=jane, email="jane@example.com", name="Jane"),
        CustomerRegistered(user_id="joe", email="joe@example.com"),
        AddressSaved(user_id=jane, name="home", address=ADDRESS),
        AddressSaved(user_id=jane, name="home", address=home),
        AddressSaved(user_id=jane, name="work", address=ADDRESS),
        AddressSaved(user_id="joe", name="secret", address=ADDRESS),
        AddressRemoved(user_id=jane, name="work"),
        ItemAddedToCart(user_id=jane, product_id="lamp", quantity=1, price=100),
        order,
        replace(order, order_id="o2", user_id="joe"),
        replace(order, order_id="o3", guest=True),
        CustomerRoleChanged(user_id=jane, role="operator"),
    )
    assert await shop.publish([*log[:-1], replace(log[-1], actor="admin:root")])
    assert await shop.publish(log_of("shipping", shipped("o1", home)))
    document = await reader.get("/me/export", by=reader.customer(jane), after="order:12,shipping:1")
    assert document["customer"]["email"] == "jane@example.com"
    assert document["addresses"] == [
        {"name": "home", "address": msgspec.json.decode(msgspec.json.encode(home))}
    ]
    assert [item["productId"] for item in document["cart"]["items"]] == ["lamp"]
    [exported] = document["orders"]
    assert (exported["orderId"], exported["shipment"]["status"]) == ("o1", "INITIATED")
    assert [event["type"] for event in document["events"]] == [
        "CustomerRegistered",
        *["AddressSaved"] * 3,
        "AddressRemoved",
        "ItemAddedToCart",
        "CustomerRoleChanged",
    ]
    assert document["events"][-1]["actor"] == "admin"
    text = str(document)
    assert "joe" not in text
    assert "secret" not in text


def shipped(order_id: str, address: Address) -> ShipmentInitiated:
    return ShipmentInitiated(
        shipment_id=f"s-{order_id}", order_id=order_id, shipping_address=address, items=()
    )


async def test_exports_are_limited(shop_settings: ShopSettings) -> None:
    own = replace(shop_settings, rate_limits="exports_per_customer=1/day")
    with read_api(own) as process:
        await process.until_ready()
        jane = process.customer("jane")
        assert await status(process, "/me/export", jane) == 404
        assert await status(process, "/me/export", jane) == 429
        assert await status(process, "/me/export", process.customer("joe")) == 404
        assert await status(process, "/me/export", NOBODY) == 401


async def test_admin_reads_customers_and_their_carts(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    jane, joe, ann = "jane", "joe", "ann"
    people = [CustomerRegistered(user_id=one, email=f"{one}@example.com") for one in (jane, joe)]
    lines = [
        ItemAddedToCart(user_id=jane, product_id="lamp", quantity=2, price=100),
        ItemAddedToCart(user_id=joe, product_id="lamp", quantity=1, price=100),
        ItemAddedToCart(user_id=jane, product_id="unicorn", quantity=1, price=30),
        CartCleared(user_id=joe),
        ItemAddedToCart(user_id=ann, product_id="lamp", quantity=1, price=100),
    ]
    lamp = ProductCreated(product_id="lamp", name="Lamp", description="", price=120)
    assert await shop.publish(log_of("inventory", lamp))
    assert await shop.publish(log_of("order", *people, *lines))
    page = await reader.get("/carts", after="order:7,inventory:1")
    assert [cart["userId"] for cart in page["items"]] == [ann, jane]
    first = await reader.get("/carts", limit=1)
    rest = await reader.get("/carts", limit=1, cursor=first["nextCursor"])
    assert (first["items"], rest["items"]) == (page["items"][:1], page["items"][1:])
    cart = await reader.get(f"/carts/{jane}")
    assert cart == page["items"][1]
    assert cart["totalAmount"] == 230
    assert [(item["productId"], item["name"], item["quantity"]) for item in cart["items"]] == [
        ("lamp", "Lamp", 2),
        ("unicorn", None, 1),
    ]
    assert (await reader.get(f"/carts/{joe}"))["items"] == []
    assert (await reader.get(f"/customers/{joe}"))["email"] == "joe@example.com"
    for path in ("/customers/nobody", "/carts/nobody"):
        assert await status(reader, path, reader.admin) == 404
        assert await status(reader, path, reader.customer("nobody")) == 403


async def test_products_are_searched_over_http(reader: ReadApi, shop: JetStreamConnection) -> None:
    def product(product_id: str, name: str, category: str) -> ProductCreated:
        return ProductCreated(
            product_id=product_id, name=name, description="", price=1, category=category
        )

    log = log_of(
        "inventory", product("p1", "静音キーボード", "入力"), product("p2", "Mouse", "入力")
    )
    assert await shop.publish(log)

    async def search(**query: Any) -> list[str]:
        response = await reader.ask("/products", NOBODY, after="inventory:2", **query)
        return [product["productId"] for product in response.json()["items"]]

    assert await search(q="キーボード") == ["p1"]
    assert await search(category="入力") == ["p1", "p2"]
    assert await search(category="入力", q="mou") == ["p2"]
    assert await search(q="\0 ") == ["p1", "p2"]
    assert await status(reader, "/products", NOBODY, q="x" * 201) == 400


async def test_products_are_sorted_by_price_and_stock(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    products = (("lamp", 300, 5), ("chair", 100, 0), ("desk", 900, 2), ("vase", 100, 9))
    log = [
        event
        for product_id, price, stock in products
        for event in (
            ProductCreated(
                product_id=product_id,
                name=product_id.upper(),
                description="",
                price=price,
                category="decor" if product_id == "vase" else "furniture",
            ),
            StockAdded(product_id=product_id, quantity=stock) if stock else None,
        )
        if event
    ]
    gone = ProductCreated(product_id="gone", name="X", description="", price=1, category="old")
    log += [gone, ProductDeleted(product_id="gone")]
    assert await shop.publish(log_of("inventory", *log))

    async def ids(**query: Any) -> list[str]:
        """The products, of pages of two."""
        listed, cursor = [], {}
        while True:
            page = await reader.get("/products", after="inventory:9", limit=2, **query, **cursor)
            listed += [product["productId"] for product in page["items"]]
            if page["nextCursor"] is None:
                return listed
            cursor = {"cursor": page["nextCursor"]}

    assert await ids() == await ids(sort="name") == ["chair", "desk", "lamp", "vase"]
    assert await ids(sort="price") == ["chair", "vase", "lamp", "desk"]
    assert await ids(sort="-price") == ["desk", "lamp", "chair", "vase"]
    assert await ids(sort="available") == ["chair", "desk", "lamp", "vase"]
    assert await ids(sort="-available") == ["vase", "lamp", "desk", "chair"]
    assert await ids(sort="newest") == ["vase", "desk", "chair", "lamp"]
    assert await ids(inStock="true", sort="price") == ["vase", "lamp", "desk"]
    assert await ids(inStock="false") == ["chair"]
    assert await ids(minPrice=101) == ["desk", "lamp"]
    assert await ids(minPrice=100, maxPrice=300, category="furniture") == ["chair", "lamp"]
    assert await status(reader, "/products", NOBODY, sort="random") == 400
    assert await status(reader, "/products", NOBODY, minPrice=-1) == 400
    by_price = await reader.get("/products", sort="price", limit=1)
    mixed = {"sort": "name", "cursor": by_price["nextCursor"]}
    assert await status(reader, "/products", NOBODY, **mixed) == 400
    categories = await reader.ask("/categories", NOBODY)
    assert categories.json()["items"] == [
        {"category": "decor", "products": 1},
        {"category": "furniture", "products": 3},
    ]
    first = await reader.get("/categories", limit=1)
    rest = await reader.get("/categories", limit=1, cursor=first["nextCursor"])
    assert [*first["items"], *rest["items"]] == categories.json()["items"]


async def test_query_waits_for_its_consistency_token(
    reader: ReadApi, shop: JetStreamConnection
) -> None:
    log = log_of("order", created("o1", "u", guest=True), created("o2", "u", guest=True))
    headers = {"Consistency-Token": "order:2"}
    waiting = asyncio.create_task(reader.ask("/orders/o2", headers))
    await asyncio.sleep(0.3)  # shows that there is no answer yet
    assert not waiting.done()
    assert await shop.publish(log)
    assert (await waiting).status_code == 200


async def test_query_with_unreached_token_is_503(reader: ReadApi) -> None:
    answers = await asyncio.gather(
        reader.ask("/products", after="order:1"),
        reader.ask("/dashboard", reader.admin | {"Consistency-Token": "inventory:1"}),
    )
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["type"] == "urn:quadrille:problem:projection-behind"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/products?after=order", "after"),
        ("/orders/o1?after=", "after"),
        ("/orders/o1/stream?after=somebody:1", "after"),
        ("/dashboard?timezone=Mars", "timezone"),
        ("/marketing/daily?timezone=..%2Fetc", "timezone"),
        ("/marketing/daily?from=yesterday", "from"),
        ("/marketing/daily?from=2026-02-02&to=2026-02-01", "to"),
        ("/marketing/daily?to=0001-01-01", "to"),
        ("/marketing/customers?cursor=WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAsIngiXQ", "cursor"),
        ("/dashboard?lowStock=-1", "lowStock"),
        ("/orders?number=of-jane", "number"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_invalid_query_parameter_is_named(
    idle_reader: ReadApi, path: str, field: str
) -> None:
    answer = await idle_reader.ask(path)
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
