"""The command line as a user calls it, against five service processes."""

import asyncio
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from quadrille.cli.api_client import Client
from quadrille.endpoints import ShopError
from shared import VERSION
from shared.chassis.messages.cloudevents import encode
from shared.contracts import OrderCancelled
from shared.order_number import order_number
from tests.support.addresses import ADDRESS_BODY
from tests.support.eventually import eventually
from tests.support.history import recorded
from tests.support.ports import free_port
from tests.support.running_shop import RunningShop
from tests.support.shop_client import Json
from tests.support.shop_expectations import ADMIN_PASSWORD
from tests.support.terminal import SECONDS, Terminal

ADMIN = "admin@example.com"
README = (Path(__file__).parents[2] / "README.md").read_text()
JANE = "jane@example.com"
JANES_PASSWORD = "correct horse"
SESSION_ENDED = "Error: your session has ended, sign in again: quadrille login\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with RunningShop(tmp_path_factory.mktemp("cli"), carrier_success_rate=1) as shop:
        asyncio.run(_open(shop))
        yield shop


async def _open(shop: RunningShop) -> None:
    await shop.start()
    await shop.stock_up(lamp=1000, chair=1)


@pytest.fixture(scope="module")
def guest(shop: RunningShop, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(shop, tmp_path_factory.mktemp("guest"))


@pytest.fixture(scope="module")
def admin(shop: RunningShop, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    terminal = Terminal(shop, tmp_path_factory.mktemp("admin"))
    terminal.sign_in(ADMIN, ADMIN_PASSWORD)
    return terminal


@pytest.fixture(scope="module")
def jane(shop: RunningShop, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    account = {"email": JANE, "password": JANES_PASSWORD, "name": "Jane"}
    assert shop.admin.post("order", "/auth/register", account).status_code == 201
    terminal = Terminal(shop, tmp_path_factory.mktemp("jane"))
    terminal.sign_in(JANE, JANES_PASSWORD)
    return terminal


def _order(terminal: Terminal, *lines: str) -> str:
    code, out, err = terminal.run("order", *lines, "--json")
    assert code == 0, err
    order_id: str = msgspec.json.decode(out)["orderId"]
    return order_id


def test_order_is_shipped_to_saved_address(jane):
    address = ADDRESS_BODY | {"city": "Kyoto"}
    code, out, err = jane.run("addresses", "save", "home", msgspec.json.encode(address).decode())
    assert code == 0, err
    assert "home" in out
    assert "150-0002 Kyoto" in out
    assert jane.run("addresses")[1] == out
    code, out, err = jane.run("order", "lamp", "--address", "home", "--json")
    assert code == 0, err
    assert msgspec.json.decode(out)["shippingAddress"] == address
    assert jane.run("addresses", "remove", "home")[1] == "The address book is empty.\n"
    code, _, err = jane.run("order", "lamp", "--address", "home")
    assert (code, err) == (1, "Error: there is no address home\n")


def test_order_without_address_names_the_option(guest, jane):
    jane.run("cart", "add", "lamp")
    for terminal, command in ((guest, ("order", "lamp")), (jane, ("cart", "checkout"))):
        code, _, err = terminal.run(*command, adds_address=False)
        assert (code, err) == (
            1,
            "Error: an order needs an address: name it with --address, see --help\n",
        )
    jane.run("cart", "clear")


def test_wrong_address_is_refused_with_its_field(guest):
    code, _, err = guest.run("order", "lamp", "--address", '{"name": "Jane"}')
    assert (code, err) == (1, "Error: shippingAddress.lines: required\n")
    code, _, err = guest.run("order", "lamp", "--address", "{")
    assert code == 2
    assert "not JSON" in err


def test_order_is_placed_and_printed(guest):
    code, out, _ = guest.run("order", "lamp:2", "lamp", "--user", "jane")
    assert code == 0
    assert re.search(r"^Order \S{36} of jane: PENDING$", out, re.MULTILINE)
    assert re.search(r"2 .  Lamp +¥1,000 +¥2,000", out)


def test_watch_follows_order_until_mails_are_sent(guest):
    code, out, _ = guest.run("order", "lamp:2", "--email", "jane@example.com", "--watch")
    assert code == 0
    events = re.findall(r"^ *[\d,]+ ms  (\w+) +(\w+)", out, re.MULTILINE)
    assert sorted(events) == [
        ("inventory", "StockDeducted"),
        ("inventory", "StockReserved"),
        *[("notifier", "NotificationSent")] * 3,
        ("order", "OrderCompleted"),
        ("order", "OrderConfirmed"),
        ("order", "OrderCreated"),
        ("order", "OrderShipped"),
        ("shipping", "ShipmentCompleted"),
        ("shipping", "ShipmentDispatched"),
        ("shipping", "ShipmentInitiated"),
    ]
    assert out.endswith("\nCOMPLETED\n")
    assert "\x1b" not in out


def test_readme_lists_the_events_of_watch(guest):
    _, out, _ = guest.run("order", "lamp:2", "--email", "me@example.com", "--watch")
    assert _event_lines(out) == _event_lines(README.replace("prod001", "lamp"))


def _event_lines(text: str) -> list[str]:
    """The events of a watched order without times and tracking numbers; those of two services come in any order."""
    lines = re.findall(r"^ *[\d,]+ ms  (.*?) *$", text, re.MULTILINE)
    return sorted(re.sub(r"SIM-\d+", "SIM", line) for line in lines)


def test_watch_fails_if_order_is_cancelled(guest):
    code, out, _ = guest.run("order", "chair:2", "--watch")
    assert code == 1
    assert "chair: 2 requested, 1 available" in out
    assert out.endswith("\nCANCELLED_NO_STOCK\n")


def test_watch_prints_json_lines(guest):
    code, out, _ = guest.run("order", "lamp", "--watch", "--json")
    assert code == 0
    *events, order = [msgspec.json.decode(line) for line in out.splitlines()]
    assert events[0]["type"] == "OrderCreated"
    assert {event["correlationId"] for event in events} == {order["orderId"]}
    assert order["status"] == "COMPLETED"


@contextmanager
def _carrier_delay(shop: RunningShop, seconds: float) -> Iterator[None]:
    _set_carrier_delay(shop, seconds)
    try:
        yield
    finally:
        _set_carrier_delay(shop, 0)


def _set_carrier_delay(shop: RunningShop, seconds: float) -> None:
    simulation = {"successRate": 1, "minDelaySeconds": seconds, "maxDelaySeconds": seconds}
    assert shop.admin.put("shipping", "/carriers/simulated", simulation).status_code == 200


def test_watch_survives_crash_of_read_api(shop, guest):
    with _carrier_delay(shop, seconds=5):
        watching = guest.start("order", "lamp", "--watch")
        first = _read_until(watching, "ShipmentInitiated")
    shop.kill("read")
    shop.start_service("read")
    out, err = watching.communicate(timeout=SECONDS)
    assert watching.returncode == 0, err
    events = re.findall(r"ms  \w+ +(\w+)", first + out)
    assert events.count("OrderCreated") == 1
    assert events.count("ShipmentInitiated") == 1
    assert events.count("OrderCompleted") == 1
    assert "lost the read API; reconnecting" in err
    asyncio.run(shop.until_ready("read"))


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    text = ""
    assert process.stdout
    while word not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    return text


def test_watch_without_read_api_exits_with_3(guest):
    code, out, err = guest.run("order", "lamp", "--watch", QUADRILLE_READ_API_PORT=str(free_port()))
    assert code == 3
    assert re.search(r"^Order \S{36} of guest: PENDING$", out, re.MULTILINE)
    assert err.startswith("Error: cannot connect to the read API at ")


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("lamp:x", "'lamp:x': 'x' is not a quantity; an example is lamp:2"),
        ("lamp:0", "'lamp:0': '0' is not a quantity; an example is lamp:2"),
        (":2", "':2' has no product id; an example is prod001:2"),
    ],
)
def test_invalid_line_item_is_explained(guest, argument, sentence):
    code, out, err = guest.run("order", argument)
    assert (code, out) == (2, "")
    assert sentence in err


def test_order_without_lines_is_explained(guest):
    code, _, err = guest.run("order")
    assert code == 2
    assert "Missing argument 'PRODUCT[:QUANTITY]...'" in err


def test_rejection_is_one_sentence(guest):
    code, out, err = guest.run("order", "unicorn:1")
    assert (code, out, err) == (1, "", "Error: there is no product unicorn\n")


def test_unreachable_service_is_named(guest):
    unused = str(free_port())
    for arguments, service, port in (
        (("order", "lamp"), "order service", "QUADRILLE_ORDER_PORT"),
        (("orders",), "read API", "QUADRILLE_READ_API_PORT"),
        (("events", "--follow"), "read API", "QUADRILLE_READ_API_PORT"),
    ):
        code, out, err = guest.run(*arguments, **{port: unused})
        assert (code, out) == (1, "")
        address = f"http://127.0.0.1:{unused}/"
        assert (
            err == f"Error: cannot connect to the {service} at {address}; start it: quadrille up\n"
        )


def test_misspelt_setting_is_explained(admin):
    code, _, err = admin.run("orders", QUADRILLE_REED_API_PORT="1")
    assert code == 2
    assert err == (
        "Error: QUADRILLE_REED_API_PORT is not a setting; did you mean QUADRILLE_READ_API_PORT?\n"
    )


def test_orders_are_listed_newest_first_and_filtered(guest, admin):
    guest.run("order", "lamp:3", "--user", "alice", "--watch")
    guest.run("order", "lamp:4", "--user", "alice", "--watch")
    code, out, _ = admin.run("orders", "--user", "alice")
    assert code == 0
    header, *rows = [line.rstrip() for line in out.splitlines()]
    assert header.split() == ["number", "status", "total", "age", "user", "order", "items"]
    assert [row.split()[-1] for row in rows] == ["lamp:4", "lamp:3"]
    code, out, _ = admin.run("orders", "--status", "cancelled_no_stock", "--user", "alice")
    assert (code, out) == (0, "No orders.\n")


def test_orders_print_json_lines(shop, guest, admin):
    order_id = _order(guest, "lamp:7")
    asyncio.run(shop.until(order_id, "COMPLETED"))
    _, out, _ = admin.run("orders", "--limit", "1", "--json")
    assert msgspec.json.decode(out)["orderId"] == order_id


def test_orders_keep_their_columns_at_80_characters(shop, jane):
    asyncio.run(shop.until(_order(jane, "chair:1000"), "CANCELLED_NO_STOCK"))
    code, screen = jane.converse("orders", typed="")
    assert code == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", screen)
    header, *rows = [line.rstrip() for line in plain.splitlines()]
    assert header.split() == ["number", "status", "total", "age", "user"]
    pattern = r"[0-9A-Z]{4}-[0-9A-Z]{4} CANCELLED_NO_STOCK +¥1,000,000 +\d+ \w+ +[0-9a-f-]{20,}"
    assert any(re.match(pattern, row) for row in rows), screen
    assert all(len(row) <= 80 for row in (header, *rows))


def test_order_is_shown_with_stock_shipment_and_mails(shop, jane, guest):
    code, out, err = jane.run("order", "place", "lamp:2", "--watch", "--json")
    assert code == 0, err
    order = msgspec.json.decode(out.splitlines()[-1])
    code, out, _ = jane.run("order", "show", order["orderNumber"].lower())
    assert code == 0
    assert out.startswith(f"Order {order['orderId']} of {order['userId']}: COMPLETED\n")
    assert order["orderNumber"] in out
    for fact in (
        "stock +DEDUCTED",
        "shipment +COMPLETED",
        "tracking +SIM-",
        "mail +delivered SENT",
    ):
        assert re.search(fact, out), out
    code, out, _ = jane.run("order", "show", order["orderId"], "--json")
    assert msgspec.json.decode(out)["shipment"]["status"] == "COMPLETED"
    assert guest.run("order", "show", order["orderId"])[0] == 1


def test_commands_accept_order_numbers(shop, jane, guest, admin):
    with _slow_carrier(shop):
        order_id = _order(jane, "lamp")
        number = order_number(order_id)
        _until(admin, "sagas", number, text="shipping  BOOK_CARRIER")
        assert order_id in admin.run("tasks", "--order", number)[1]
        assert order_id in admin.run("tasks", "run", "order", "nothing", number)[2]
        assert admin.run("dlq", "show", "order", number)[2].endswith(f"of {order_id}\n")
        assert "OrderCreated" in jane.run("events", "--order", number)[1]
        assert f"Order {order_id} of " in jane.run("cancel", number)[1]
        assert f"Order {order_id} (" in admin.run("nudge", number)[1]
    number = order_number(_order(guest, "lamp"))
    denied = (1, "", f"Error: there is no order {number}\n")
    assert [jane.run("cancel", number), jane.run("events", "--order", number)] == [denied] * 2


def test_order_events_are_in_causal_order(shop, guest):
    order_id = _order(guest, "chair:9")
    asyncio.run(shop.until(order_id, "CANCELLED_NO_STOCK"))
    code, out, _ = guest.run("events", "--order", order_id)
    assert code == 0
    events = re.findall(r"ms  \w+ +(\w+)", out)
    assert events.index("OrderCreated") < events.index("StockReservationFailed")
    assert events.index("StockReservationFailed") < events.index("OrderCancelled")


def test_events_are_filtered_and_print_json_lines(admin):
    _, out, _ = admin.run("events", "--type", "StockReserved", "--limit", "2", "--json")
    events = [msgspec.json.decode(line) for line in out.splitlines()]
    assert [event["type"] for event in events] == ["StockReserved"] * 2
    assert events[0]["recordedAt"] < events[1]["recordedAt"]
    _, out, _ = admin.run("events", "--source", "shipping", "--type", "StockReserved")
    assert out == "No such events.\n"


def test_follow_prints_newest_then_new_events_once(shop, guest, admin):
    before = _order(guest, "lamp")
    asyncio.run(shop.until(before, "COMPLETED"))
    following = admin.start("events", "--follow", "--type", "OrderCreated", "--limit", "1")
    first = _read_until(following, before)
    after = _order(guest, "lamp")
    second = _read_until(following, after)
    following.send_signal(2)
    rest, err = following.communicate(timeout=SECONDS)
    assert following.returncode == 130
    assert (rest, err) == ("", "")
    assert len((first + second).splitlines()) == 2


def test_events_of_unknown_order_are_an_error(guest):
    code, _, err = guest.run("events", "--order", "nothing")
    assert (code, err) == (1, "Error: there is no order nothing\n")


def test_user_stays_signed_in_until_logout(shop, guest, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    code, out, _ = terminal.run("login", JANE, "--password-stdin", typed=f"{JANES_PASSWORD}\n")
    assert (code, out) == (0, f"Signed in at {shop.url('order')} as {JANE}.\n")
    code, out, _ = terminal.run("whoami")
    assert code == 0
    assert re.fullmatch(rf"{JANE}, customer, user \S{{36}}\n", out)
    assert terminal.run("logout") == (0, f"Signed out {JANE}.\n", "")
    assert terminal.run("logout") == (0, "You were not signed in.\n", "")
    assert terminal.run("whoami") == (1, "", "Error: sign in first: quadrille login\n")


def test_registration_signs_in(shop, tmp_path):
    terminal = Terminal(shop, tmp_path)
    words = ("register", "Ann@Example.com", "--name", "Ann", "--password-stdin")
    code, out, err = terminal.run(*words, typed=f"{JANES_PASSWORD}\n")
    assert code == 0, err
    assert out == f"Registered, and signed in at {shop.url('order')} as ann@example.com.\n"
    assert terminal.run("whoami")[1].startswith("ann@example.com, customer, user ")
    code, out, err = terminal.run(*words, typed=f"{JANES_PASSWORD}\n")
    assert (code, out, err.count("\n")) == (1, "", 1)
    code, screen = Terminal(shop, tmp_path / "other").converse(
        "register", "eve@example.com", typed=f"{JANES_PASSWORD}\n{JANES_PASSWORD}\n"
    )
    assert code == 0, screen
    assert "Registered, and signed in" in screen


def test_logout_revokes_tokens_at_shop(shop, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(JANE, JANES_PASSWORD)
    session = terminal.session_file.read_text()
    terminal.run("logout")
    terminal.session_file.write_text(session.replace(_expiry(session), "2026-01-01T00:00:00Z"))
    code, _, err = terminal.run("whoami")
    assert (code, err) == (1, SESSION_ENDED)
    assert terminal.run("whoami") == (1, "", "Error: sign in first: quadrille login\n")


def test_logout_without_shop_is_local_only(shop, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(JANE, JANES_PASSWORD)
    session = terminal.session_file.read_text()
    unused = str(free_port())
    terminal.session_file.write_text(session.replace(str(shop.port("order")), unused))
    code, out, err = terminal.run("logout", QUADRILLE_ORDER_PORT=unused)
    assert (code, out) == (1, "")
    assert (
        "signed out on this machine, but not at the shop: cannot connect to the order service at"
        in err
    )
    assert terminal.run("logout", QUADRILLE_ORDER_PORT=unused) == (
        0,
        "You were not signed in.\n",
        "",
    )


def test_typed_password_is_not_displayed(shop, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    code, screen = terminal.converse("login", typed=f"{JANE}\n{JANES_PASSWORD}\n")
    assert code == 0, screen
    assert JANE in screen
    assert JANES_PASSWORD not in screen
    assert JANES_PASSWORD not in terminal.session_file.read_text()


def test_wrong_password_is_an_error(guest):
    code, out, err = guest.run("login", ADMIN, "--password-stdin", typed="guess\n")
    assert (code, out, err) == (1, "", "Error: e-mail or password is wrong\n")


def test_password_prompt_needs_a_terminal(guest):
    code, _, err = guest.run("login", ADMIN)
    assert code == 2
    assert "standard input is not a terminal: use --password-stdin" in err
    code, _, err = guest.run("login", "--password-stdin", typed="guess\n")
    assert code == 2
    assert "--password-stdin requires the argument EMAIL" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("cart",),
        ("orders",),
        ("order", "show", "7K3F-92QM"),
        ("events",),
        ("events", "--follow"),
        ("stock", "add", "lamp", "1"),
    ],
    ids=" ".join,
)
def test_guest_must_sign_in_first(guest, arguments):
    assert guest.run(*arguments) == (1, "", "Error: sign in first: quadrille login\n")


def test_concurrent_commands_refresh_expiring_token_once(shop, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(JANE, JANES_PASSWORD)
    before = terminal.session_file.read_text()
    terminal.session_file.write_text(before.replace(_expiry(before), "2026-01-01T00:00:00Z"))
    commands = [terminal.start("whoami") for _ in range(4)]
    for command in commands:
        out, err = command.communicate(timeout=SECONDS)
        assert out.startswith(JANE), err
    assert terminal.session_file.read_text() != before
    assert terminal.run("whoami")[0] == 0


def test_rejected_token_is_refreshed(shop, jane, tmp_path):
    terminal = Terminal(shop, tmp_path)
    terminal.sign_in(JANE, JANES_PASSWORD)
    _damage_token(terminal)
    code, out, err = terminal.run("order", "lamp", "--json")
    assert code == 0, err
    order_id = msgspec.json.decode(out)["orderId"]
    _damage_token(terminal)
    following = terminal.start("events", "--order", order_id, "--follow")
    _read_until(following, "OrderCompleted")
    following.send_signal(2)
    following.communicate(timeout=SECONDS)
    assert following.returncode == 130


def test_customer_orders_only_as_themselves(jane, guest):
    order_id = _order(jane, "lamp:5")
    code, out, err = jane.run("order", "lamp:5", "--user", "somebody")
    assert (code, out, err) == (1, "", "Error: userId: you can order only for yourself\n")
    code, out, err = guest.run("cancel", order_id)
    assert (code, out, err) == (1, "", f"Error: there is no order {order_id}\n")


def test_cancelled_order_releases_stock(shop, guest):
    with _carrier_delay(shop, seconds=600):
        order_id = _order(guest, "lamp:2")
        asyncio.run(shop.until(order_id, "AWAITING_SHIPMENT"))
        code, out, err = guest.run("cancel", order_id, "--reason", "too dark", "--watch")
    assert code == 0, err
    assert "\n  cancellation by the customer: too dark\n" in out
    assert re.search(
        r"OrderCancellationRequested +CUSTOMER  too dark  by guest$", out, re.MULTILINE
    )
    assert re.search(rf"^Order {order_id} of guest: CANCELLING$", out, re.MULTILINE)
    assert "StockReleased" in out
    assert out.endswith("\nCANCELLED\n")
    code, out, err = guest.run("cancel", order_id)
    assert (code, out, err) == (1, "", "Error: the order is CANCELLED already\n")


def test_cancellation_by_the_shop_is_shown(shop, guest, admin):
    with _carrier_delay(shop, seconds=600):
        order_id = _order(guest, "lamp")
        asyncio.run(shop.until(order_id, "AWAITING_SHIPMENT"))
        reasons = ("--reason", "it broke", "--note", "see ticket 7")
        code, out, err = admin.run("cancel", order_id, *reasons)
        asyncio.run(shop.until(order_id, "CANCELLED"))
    assert code == 0, err
    assert "\n  cancellation by the shop: it broke (note: see ticket 7)\n" in out
    _, out, _ = admin.run("orders", "--status", "cancelled")
    assert re.search(rf"CANCELLED \(shop\) .*{order_id}", out)
    code, out, _ = guest.run("events", "--order", order_id)
    assert re.search(r"Requested +CUSTOMER  it broke  by admin$", out, re.MULTILINE)
    assert "ticket" not in out


def test_cancel_prints_json(shop, guest):
    shop.terminate("shipping")
    order_id = _order(guest, "lamp")
    code, out, _ = guest.run("cancel", order_id, "--reason", "too dark", "--json")
    shop.start_service("shipping")
    assert code == 0
    assert msgspec.json.decode(out)["status"] == "CANCELLING"
    asyncio.run(shop.until_ready("shipping"))


def test_stock_is_added_and_written_off(admin):
    code, out, _ = admin.run("stock", "add", "chair", "5", "--reason", "a delivery")
    assert (code, out) == (0, "chair: 6 on hand, 0 reserved, 6 available\n")
    code, out, _ = admin.run("stock", "add", "--", "chair", "-2")
    assert (code, out) == (0, "chair: 4 on hand, 0 reserved, 4 available\n")
    code, out, _ = admin.run("stock", "add", "chair", "-1", "--reason", "count was wrong")
    assert (code, out) == (0, "chair: 3 on hand, 0 reserved, 3 available\n")
    code, out, _ = admin.run("stock", "remove", "chair", "2", "--json")
    assert code == 0
    assert msgspec.json.decode(out)["available"] == 1
    code, _, err = admin.run("stock", "remove", "chair", "2")
    assert code == 1
    assert err.startswith("Error: ")


def test_stock_is_for_the_admin(jane):
    assert jane.run("stock", "add", "chair", "5") == (1, "", "Error: only an admin may do this\n")


def test_products_are_listed_with_stock(shop, guest):
    code, out, _ = guest.run("products")
    assert code == 0
    header, *rows = [line.split() for line in out.splitlines()]
    assert header == [
        "product",
        "price",
        "available",
        "reserved",
        "name",
        "category",
        "description",
    ]
    assert [row[:2] for row in rows] == [["chair", "¥1,000"], ["lamp", "¥1,000"]]
    _, out, _ = guest.run("products", "--json", "--limit", "1")
    assert msgspec.json.decode(out)["productId"] == "chair"


def test_products_are_searched_by_word_and_category(shop, guest):
    desk = {
        "productId": "desk",
        "name": "Standing desk",
        "description": "Up and down.",
        "category": "furniture",
        "price": 2000,
    }
    assert shop.admin.post("inventory", "/products", desk).status_code == 201
    asyncio.run(eventually(lambda: shop.admin.get("read", "/products/desk").status_code == 200))
    for arguments in (("--search", "standing"), ("--category", "furniture")):
        code, out, _ = guest.run("products", *arguments)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()] == ["product", "desk"]
    code, out, _ = guest.run("products", "--in-stock", "--sort", "-price")
    assert [line.split()[0] for line in out.splitlines()][:1] == ["product"]
    assert "desk" not in out
    code, out, _ = guest.run("products", "--search", "standing", "--category", "lights")
    assert (code, out) == (0, "No such products.\n")


def test_product_is_added_changed_and_deleted(shop, admin, guest):
    text = ("--name", "Oak table", "--price", "120.00", "--category", "furniture")
    code, out, err = admin.run("product", "add", "table", *text, "--stock", "3")
    assert (code, out) == (0, "table: Oak table, ¥120, 3 available\n"), err
    code, out, err = admin.run("product", "update", "table", "--price", "150", "--json")
    product = msgspec.json.decode(out)
    assert (product["price"], product["category"]) == (150, "furniture")
    code, out, _ = admin.run("product", "update", "table", "--category", "", "--json")
    assert (msgspec.json.decode(out)["category"], msgspec.json.decode(out)["price"]) == (None, 150)
    assert admin.run("product", "add", "table", *text)[0] == 1
    assert admin.run("product", "delete", "table") == (0, "table is deleted.\n", "")
    code, _, err = admin.run("product", "update", "table", "--name", "Table")
    assert (code, err) == (1, "Error: there is no product table\n")
    code, out, _ = admin.run("product", "restore", "table")
    assert (code, out) == (0, "table: Oak table, ¥150, 3 available\n")
    for misuse in (("--price", "12.5"), ("--price", "much"), ("--price", "-1"), ()):
        assert admin.run("product", "update", "table", *misuse)[0] == 2
    assert guest.run("product", "delete", "lamp")[0] == 1


def test_update_does_not_undo_another(shop, admin, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(admin.session_file.parents[1]))
    vase, meanwhile = {"name": "Vase", "price": 10}, {"name": "Vase", "price": 20}
    assert shop.admin.post("inventory", "/products", {"productId": "vase", **vase}).is_success

    def change(current: Json) -> Json:
        assert current["price"] == 10
        assert shop.admin.put("inventory", "/products/vase", meanwhile).is_success
        return {**vase, "name": "Old vase"}

    with pytest.raises(ShopError) as refused:
        Client(shop.settings).edit("inventory", "/products/vase", change)
    assert refused.value.exit_code == 1
    product = shop.admin.show("inventory", "/products/vase")
    assert (product["name"], product["price"]) == ("Vase", 20)


def test_mails_are_listed_and_sent_again(shop, guest, admin):
    code, out, err = guest.run("order", "lamp", "--email", "ida@example.com", "--watch", "--json")
    assert code == 0, err
    number = msgspec.json.decode(out.splitlines()[-1])["orderNumber"]
    code, out, _ = admin.run("mail", "list", "--order", number, "--status", "sent", "--json")
    first, *_ = mails = [msgspec.json.decode(line) for line in out.splitlines()]
    assert {mail["status"] for mail in mails} == {"SENT"}
    assert "delivered" in {mail["template"] for mail in mails}
    code, out, _ = admin.run("mail", "list", "--order", number)
    assert re.search(rf"^{first['notificationId']} +{number} +\w+ +SENT", out, re.MULTILINE)
    assert admin.run("mail", "list", "--order", number, "--status", "failed")[1] == "No mails.\n"
    code, out, _ = admin.run("mail", "resend", first["notificationId"])
    assert (code, out) == (0, f"Sending the mail {first['template']} of order {number} again.\n")
    assert admin.run("mail", "resend", "nothing")[0] == 1
    assert guest.run("mail", "list")[0] == 1


def test_customer_is_shown_with_cart_and_orders(shop, jane, admin):
    order_id = _order(jane, "lamp")
    jane.run("cart", "add", "lamp:2")
    for customer in (JANE, JANE.upper()):
        out = _until(admin, "customer", "show", customer, text="in the cart: 2 of Lamp at ¥1,000")
    assert out.startswith(f"{JANE} (Jane), customer, user ")
    assert order_id in out
    _code, out, _ = admin.run("customer", "list", "--search", "jane@", "--json")
    account = msgspec.json.decode(out)
    assert account["email"] == JANE
    _, out, _ = admin.run("customer", "show", account["userId"], "--json")
    assert msgspec.json.decode(out)["orders"][0]["orderId"] == order_id
    jane.run("cart", "clear")
    for nobody in ("nobody", "nobody@example.com"):
        assert admin.run("customer", "show", nobody)[0] == 1
    assert jane.run("customer", "list")[0] == 1


def test_simulated_carrier_is_shown_and_changed(admin, jane):
    code, out, err = admin.run("carrier", "set", "--max-delay", "2.5", "--success-rate", "0.9")
    assert code == 0, err
    assert out.startswith("simulated: delivers 90% of the shipments\n")
    assert "0 to 2.5 s" in out
    assert admin.run("carrier") == admin.run("carrier", "show") == (0, out, "")
    code, out, _ = admin.run("carrier", "set", "--max-delay", "0", "--success-rate", "1", "--json")
    assert (code, msgspec.json.decode(out)["successRate"]) == (0, 1)
    code, out, _ = admin.run("carrier", "set", "--silent-rate", "0.25")
    assert (code, "never reports the outcome of 25%" in out) == (0, True)
    assert admin.run("carrier", "set", "--silent-rate", "0")[0] == 0
    assert admin.run("carrier", "set", "--min-delay", "5")[0] == 1
    assert admin.run("carrier", "set")[0] == 2
    assert jane.run("carrier")[0] == 1


def test_orders_are_found_by_product_and_address(guest, admin, jane):
    code, out, err = guest.run("order", "lamp", "--email", "leo@example.com", "--watch", "--json")
    assert code == 0, err
    number = msgspec.json.decode(out.splitlines()[-1])["orderNumber"]
    _, out, _ = admin.run("orders", "--email", "LEO@example.com")
    assert [line.split()[0] for line in out.splitlines()] == ["number", number]
    assert number in admin.run("orders", "--product", "lamp", "--limit", "1")[1]
    assert number not in jane.run("orders", "--product", "lamp")[1]
    assert jane.run("orders", "--email", "leo@example.com")[0] == 1


def test_report_prints_revenue_products_days_and_stock(shop, guest, admin):
    assert guest.run("order", "lamp:2", "--watch")[0] == 0
    code, out, err = admin.run("report", "--days", "2", "--timezone", "Asia/Tokyo")
    assert code == 0, err
    assert re.search(r"^Revenue +¥[\d,]+ *$", out, re.MULTILINE)
    assert re.search(r"^Orders +\d+, \d+ of them by guests *$", out, re.MULTILINE)
    assert re.search(r"^ *¥[\d,]+ +\d+ +\d+ +\d+ +Lamp", out, re.MULTILINE)
    assert re.search(r"^Days \(Asia/Tokyo\)$", out, re.MULTILINE)
    assert len(re.findall(r" \d{4}-\d\d-\d\d *$", out, re.MULTILINE)) == 2
    assert "Low stock" in out


def test_report_prints_json(admin):
    code, out, err = admin.run("report", "--days", "3", "--top", "1", "--json")
    assert code == 0, err
    report = msgspec.json.decode(out)
    assert len(report["daily"]["items"]) == 3
    assert len(report["products"]["items"]) == 1
    assert report["dashboard"]["overview"]["revenue"] >= report["products"]["items"][0]["revenue"]


def test_report_rejects_customers_and_unknown_time_zones(jane, admin):
    assert jane.run("report") == (1, "", "Error: only an operator or an admin may do this\n")
    code, _, err = admin.run("report", "--timezone", "Asia/Atlantis")
    assert code == 1
    assert "expected an IANA time zone, e.g. Asia/Tokyo" in err


def _hold(shop: RunningShop, *event_ids: str) -> None:
    """Insert events for a position at which another event was applied."""
    with closing(sqlite3.connect(shop.data_dir / "read.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO held_events (source, position, event_id, subject, body) "
            "VALUES ('order', 1, ?, 'shop.guest.order.o1.order_created', '{}')",
            [(event_id,) for event_id in event_ids],
        )


def test_held_events_are_listed_and_removed(shop, admin, jane):
    assert admin.run("held") == (0, "No event is held.\n", "")
    _hold(shop, "rival-1", "rival-2")
    code, out, _ = admin.run("held")
    assert code == 0
    assert re.search(r"^order +1 +DIVERGING +rival-1 +[0-9a-f-]{36}$", out, re.MULTILINE)
    code, _, err = admin.run("forget", "order", "1")
    several = "several events are held at position 1 of order, add an id: rival-1, rival-2"
    assert (code, err) == (1, f"Error: {several}\n")
    code, out, _ = admin.run("forget", "order", "1", "rival-2")
    assert (code, out) == (0, "Removed event rival-2, held at position 1 of order.\n")
    denied = (1, "", "Error: only an operator or an admin may do this\n")
    assert jane.run("forget", "order", "1") == denied
    code, out, _ = admin.run("forget", "order", "1", "--json")
    assert (code, msgspec.json.decode(out)["eventId"]) == (0, "rival-1")
    code, _, err = admin.run("forget", "order", "1")
    assert (code, err) == (1, "Error: no event is held at position 1 of order: quadrille held\n")


@contextmanager
def _slow_carrier(shop: RunningShop) -> Iterator[None]:
    """Bookings are due in ten minutes."""
    _set_carrier(shop, delay_seconds=600)
    try:
        yield
    finally:
        _set_carrier(shop, delay_seconds=0)


def _set_carrier(shop: RunningShop, delay_seconds: int) -> None:
    delays = {"minDelaySeconds": delay_seconds, "maxDelaySeconds": delay_seconds}
    answer = shop.admin.ask("PUT", "shipping", "/carriers/simulated", {"successRate": 1, **delays})
    assert answer.status_code == 200


def _until(terminal: Terminal, *arguments: str, text: str) -> str:
    """The command's output, as soon as it contains the text."""

    def output() -> str:
        code, out, err = terminal.run(*arguments)
        assert code == 0, err
        assert text in out
        return out

    return asyncio.run(eventually(output))


def test_open_orders_are_shown_and_ended(shop, guest, admin, jane):
    with _slow_carrier(shop):
        nudged, failed, booked = (_order(guest, "lamp:1") for _ in range(3))
        for order_id in (nudged, failed, booked):
            _until(admin, "sagas", order_id, text="shipping  BOOK_CARRIER")
    code, out, _ = admin.run("sagas")
    assert (code, out.count("BOOK_CARRIER")) == (0, 3)
    _, out, _ = admin.run("sagas", nudged)
    assert re.search(r"^ +0 ms  order +OrderCreated$", out, re.MULTILINE)
    assert "Its deadline passes in " in out
    _, out, _ = admin.run("tasks", "--order", nudged)
    assert re.search(rf"^order +deadline +{nudged} +in ", out, re.MULTILINE)
    assert re.search(rf"^shipping +booking +{nudged} +in 5 min", out, re.MULTILINE)
    code, out, _ = admin.run("nudge", nudged)
    assert (code, out.endswith("every service repeats its events\n")) == (0, True)
    give_up = ("tasks", "give-up", "shipping", "booking", failed, "--reason", "a test")
    assert admin.run(*give_up) == (0, f"shipping: booking of {failed} is given up\n", "")
    assert admin.run("tasks", "run", "shipping", "booking", booked)[0] == 0
    for order_id in (nudged, failed, booked):
        _until(admin, "sagas", order_id, text="No such saga")
    statuses = {
        order_id: shop.admin.show("read", f"/orders/{order_id}")["status"]
        for order_id in (nudged, failed, booked)
    }
    assert list(statuses.values()) == ["COMPLETED", "SHIPMENT_FAILED", "COMPLETED"]
    denied = (1, "", "Error: only an operator or an admin may do this\n")
    assert [jane.run("nudge", nudged), jane.run("sagas"), jane.run("tasks")] == [denied] * 3
    code, _, err = admin.run("tasks", "run", "shipping", "booking", booked)
    assert (code, err.startswith("Error: there is no task booking of ")) == (1, True)


def test_silent_parcel_is_settled(admin, shop):
    with shop.carrier(silent_rate=1):
        order_id = shop.guest.order(("lamp", 1))["orderId"]
        asyncio.run(shop.until(order_id, "SHIPPED"))
    assert "No such saga" in admin.run("sagas", order_id, "--state", "overdue")[1]
    code, out, _ = admin.run("settle", order_id, "delivered", "--note", "by telephone")
    assert (code, out) == (0, f"The shipment of order {order_id} is COMPLETED\n")
    asyncio.run(shop.until(order_id, "COMPLETED"))
    assert admin.run("settle", order_id, "lost")[0] == 1
    assert admin.run("settle", order_id, "eaten")[0] == 2


def _park(shop: RunningShop, order_id: str) -> None:
    """Insert dead letters of the inventory as if a rule had failed that was corrected since."""
    events = [recorded(OrderCancelled(order_id=order_id, reason="CUSTOMER")) for _ in range(2)]
    rows = [
        (event.event_id, order_id, status, event.subject, encode(event))
        for event, status in zip(events, ("PARKED", "WAITING"), strict=True)
    ]
    with closing(sqlite3.connect(shop.data_dir / "inventory.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO dead_letter (event_id, event_type, entity_id, source, position, status, "
            "subject, body, error, dead_lettered_at) "
            "VALUES (?, 'OrderCancelled', ?, 'order', 1, ?, ?, ?, 'KeyError: 1', '2026-01-01')",
            rows,
        )


def test_dead_letters_are_redriven(shop, admin, jane):
    assert admin.run("dlq", "list") == (0, "No dead letters.\n", "")
    _park(shop, "stray")
    code, out, _ = admin.run("dlq", "list")
    assert code == 0
    assert re.search(r"^inventory +PARKED +OrderCancelled +1 +1 .* KeyError: 1$", out, re.MULTILINE)
    code, out, _ = admin.run("dlq", "try", "inventory", "stray")
    assert (code, out.count("HANDLED"), out.count("would record EventRedriven")) == (0, 2, 2)
    denied = "Error: only an operator or an admin may do this\n"
    assert jane.run("dlq", "redrive", "inventory", "stray") == (1, "", denied)
    code, out, _ = admin.run("dlq", "redrive", "inventory", "--error", "KeyError", "--json")
    assert (code, msgspec.json.decode(out)["outcomes"]) == (0, {"HANDLED": 2})
    code, _, err = admin.run("dlq", "redrive", "inventory", "stray")
    assert (code, err) == (1, "Error: there is no dead letter of stray\n")
    code, _, err = admin.run("dlq", "redrive", "inventory")
    assert (code, "Error: name an entity, or select letters" in err) == (2, True)


def _status(terminal: Terminal) -> tuple[int, dict[str, Json]]:
    """Exit code, and the processes by name."""
    code, out, err = terminal.run("status", "--json")
    assert err == ""
    return code, {process["name"]: process for process in msgspec.json.decode(out)["processes"]}


def test_status_counts_lag_and_dead_letters(shop, guest):
    code, processes = _status(guest)
    assert (code, [process["status"] for process in processes.values()]) == (0, ["ready"] * 5)
    assert {process["lag"] for process in processes.values()} == {0}
    assert {process["version"] for process in processes.values()} == {VERSION}
    _park(shop, "unhandled")
    with _locked(shop.data_dir / "inventory.db"):
        _order(guest, "lamp")
        code, processes = asyncio.run(eventually(lambda: _waiting(guest, "inventory")))
    assert code == 1
    assert processes["inventory"]["lag"] > 0
    assert processes["inventory"]["deadLetters"] == 2
    assert processes["order"]["deadLetters"] == 0
    code, out, _ = asyncio.run(eventually(lambda: _ready(guest)))
    assert re.search(r"^inventory +ready .* 2 *$", out, re.MULTILINE)
    assert out.endswith("\n2 dead letters: quadrille dlq list\n")
    with _database(shop, "inventory") as connection:
        connection.execute("DELETE FROM dead_letter WHERE entity_id = 'unhandled'")


def _waiting(terminal: Terminal, service: str) -> tuple[int, dict[str, Json]]:
    code, processes = _status(terminal)
    assert processes[service]["waitingFor"] == ["its database to accept events"]
    return code, processes


def _ready(terminal: Terminal) -> tuple[int, str, str]:
    result = terminal.run("status")
    assert result[0] == 0
    return result


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _database(shop: RunningShop, service: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(shop.data_dir / f"{service}.db")) as connection, connection:
        yield connection


def test_status_names_a_service_that_is_down(shop, guest):
    shop.kill("shipping")
    code, out, _ = guest.run("status")
    shop.start_service("shipping")
    assert code == 1
    assert re.search(r"^shipping +down ", out, re.MULTILINE)
    assert f"shipping does not answer at {shop.url('shipping')}" in out
    asyncio.run(shop.until_ready("shipping"))


def test_dead_letter_is_discarded(shop, admin):
    _park(shop, "unwanted")
    code, out, err = admin.run("dlq", "discard", "inventory", "unwanted", "--reason", "a test")
    assert code == 0, err
    assert out.startswith("Discarded event ")
    assert "HANDLED" in out
    code, out, _ = admin.run("dlq", "list", "inventory", "--status", "DISCARDED", "--letters")
    assert re.search(
        r"^inventory +unwanted +DISCARDED +OrderCancelled .* a test$", out, re.MULTILINE
    )
    code, out, _ = admin.run("dlq", "show", "inventory", "unwanted")
    assert '"type":"OrderCancelled"' in out
    code, _, err = admin.run("dlq", "discard", "inventory", "unwanted", "--reason", "a test")
    assert (code, err) == (1, "Error: all dead letters of unwanted are discarded\n")


def test_cart_is_filled_changed_and_checked_out(jane):
    assert jane.run("cart") == jane.run("cart", "show") == (0, "The cart is empty.\n", "")
    code, out, _ = jane.run("cart", "add", "lamp:2", "chair")
    assert code == 0
    assert re.search(r"2 . +Lamp +¥1,000 +¥2,000\s+1 . +Chair +¥1,000 +¥1,000\s+¥3,000", out)
    code, out, _ = jane.run("cart", "set", "lamp:3", "--json")
    assert msgspec.json.decode(out)["totalAmount"] == 4000
    assert jane.run("cart", "--json")[1] == out
    code, out, _ = jane.run("cart", "remove", "chair")
    assert code == 0
    assert "Chair" not in out
    code, out, err = jane.run("cart", "checkout", "--watch")
    assert code == 0, err
    assert out.endswith("\nCOMPLETED\n")
    assert jane.run("cart", "show") == (0, "The cart is empty.\n", "")
    code, out, err = jane.run("cart", "checkout")
    assert (code, out, err) == (1, "", "Error: the cart is empty\n")


def test_cart_is_cleared(jane):
    jane.run("cart", "add", "lamp")
    assert jane.run("cart", "clear") == (0, "The cart is empty.\n", "")


def test_changed_price_in_cart_must_be_accepted(shop, jane, admin):
    jane.run("cart", "add", "lamp")
    shop.admin.put("inventory", "/products/lamp", {"name": "Lamp", "price": 1200})
    asyncio.run(eventually(lambda: shop.is_for_sale("lamp", price=1200)))
    assert "now ¥1,200" in jane.run("cart", "show")[1]
    code, _, err = jane.run("cart", "checkout")
    assert (code, err) == (1, "Error: lamp costs 1200, not 1000\n")
    assert jane.run("cart", "set", "lamp:1")[0] == 0
    assert jane.run("cart", "checkout")[0] == 0
    shop.admin.put("inventory", "/products/lamp", {"name": "Lamp", "price": 1000})
    asyncio.run(eventually(lambda: shop.is_for_sale("lamp")))


def _damage_token(terminal: Terminal) -> None:
    session = terminal.session_file.read_text()
    token = re.findall(r'"accessToken": "(.*?)"', session)[0]
    terminal.session_file.write_text(session.replace(token, f"{token[:-4]}AAAA"))


def _expiry(session: str) -> str:
    expiry: str = re.findall(r'"expiresAt": "(.*?)"', session)[0]
    return expiry


def test_resend_publishes_events_of_a_service(admin):
    assert admin.run("resend", "inventory", "1", "2") == (
        0,
        "inventory: publishing 2 events again, from 1 to 2\n",
        "",
    )
    code, out, _ = admin.run("resend", "order", "1", "--json")
    resending = msgspec.json.decode(out)
    assert (code, resending["from"], resending["events"]) == (0, 1, resending["to"])


def test_resend_beyond_log_end_is_rejected(admin, guest):
    code, _, err = admin.run("resend", "shipping", "1000000")
    assert code == 1
    assert err.startswith("Error: the event log ends at ")
    code, _, err = admin.run("resend", "notifier", "2", "1")
    assert (code, err) == (1, "Error: to: less than from\n")
    code, _, err = guest.run("resend", "order", "1")
    assert code == 1
    assert "sign in" in err


def test_rebuild_prints_differing_rows(admin, shop, guest):
    assert admin.run("rebuild")[1].count("not since its start") == 5
    with closing(sqlite3.connect(shop.data_dir / "read.db")) as connection, connection:
        connection.execute("UPDATE products SET description = 'wrong' WHERE product_id = 'lamp'")
    code, out, err = admin.run("rebuild", "read", "order")
    assert code == 0, err
    assert re.search(r"^read: [\d,]+ events in .*; tables replaced in [\d.]+ s$", out, re.MULTILINE)
    assert re.search(r"^1 row differed .*\ntable .*\nproducts +\d+ +0 +0 +1$", out, re.MULTILINE)
    assert re.search(r"^order: .*\nNo row differed\.$", out, re.MULTILINE)
    code, out, _ = admin.run("rebuild", "--json")
    documents = [msgspec.json.decode(line) for line in out.splitlines()]
    assert {document["service"]: bool(document["last"]) for document in documents} == {
        "inventory": False,
        "notifier": False,
        "order": True,
        "read": True,
        "shipping": False,
    }
    assert guest.run("rebuild", "read")[0] == 1


def test_admin_gives_and_takes_roles(shop, admin, guest, tmp_path):
    email = "olga@example.com"
    olga = Terminal(shop, tmp_path)
    olga.run("register", email, "--password-stdin", typed=f"{JANES_PASSWORD}\n")
    code, out, err = admin.run("admin", "add", email, "--role", "operator")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "not verified" in err
    code, out, err = admin.run("admin", "add", email, "--role", "operator", "--unverified")
    assert (code, out) == (0, f"{email} is an operator now.\n"), err
    assert olga.run("whoami")[1].startswith(f"{email}, operator, ")
    assert olga.run("sagas")[0] == 0
    assert olga.run("admin")[0] == 1
    listed = msgspec.json.decode(admin.run("admin", "--json")[1])["items"]
    assert {(item["email"], item["role"]) for item in listed} >= {
        (ADMIN, "admin"),
        (email, "operator"),
    }
    assert email in admin.run("admin")[1]
    assert admin.run("admin", "remove", email)[:2] == (0, f"{email} is a customer now.\n")
    code, _, err = olga.run("sagas")
    assert (code, "only an operator" in err) == (1, True)
    assert admin.run("admin", "add", "nobody@example.com")[0] == 1
    assert guest.run("admin", "remove", email)[0] == 1
    code, _, err = admin.run("admin", "remove", ADMIN)
    assert (code, err) == (1, "Error: your own role is changed by another admin\n")


def test_admin_changes_own_password(shop, tmp_path):
    email, new = "petra@example.com", "another horse"
    petra, elsewhere = Terminal(shop, tmp_path / "here"), Terminal(shop, tmp_path / "elsewhere")
    petra.run("register", email, "--password-stdin", typed=f"{JANES_PASSWORD}\n")
    elsewhere.sign_in(email, JANES_PASSWORD)
    change = ("admin", "password", "--password-stdin")
    code, _, err = petra.run(*change, typed=f"wrong horse\n{new}\n")
    assert (code, err) == (1, "Error: the current password is wrong\n")
    code, out, err = petra.run(*change, typed=f"{JANES_PASSWORD}\n{new}\n")
    assert code == 0, err
    assert out.startswith(f"Changed the password of {email}")
    assert petra.run("whoami")[0] == 0
    assert elsewhere.run("whoami") == (1, "", SESSION_ENDED)
    assert petra.run("admin", "password", email)[0] == 2
    code, _, err = petra.run("admin", "password", "--offline")
    assert (code, "another process uses" in err) == (1, True)
