"""`order`, `orders` and `events` as somebody at a terminal uses them, against five real services."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.fleet import Fleet
from tests.support.ports import free_port
from tests.support.settings import environment_of

ROOT = Path(__file__).parents[2]
RUN = "import sys; from quadrille.{0} import {1}; {1}(prog_name='quadrille {1}')"
MODULES = {"order": "orders", "orders": "orders", "events": "events"}
SECONDS = 30


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("cli"), carrier_success_rate=1) as fleet:
        asyncio.run(_open(fleet))
        yield fleet


async def _open(fleet: Fleet) -> None:
    await fleet.start()
    await fleet.stock_up(lamp=1000, chair=1)


def _start(fleet: Fleet, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = RUN.format(MODULES[arguments[0]], arguments[0])
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments[1:]],
        cwd=ROOT,
        env=environment_of(fleet._settings) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(fleet: Fleet, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = _start(fleet, *arguments, **environment)
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def _order(fleet: Fleet, *lines: str) -> str:
    code, out, _ = _run(fleet, "order", *lines, "--json")
    assert code == 0
    order_id: str = msgspec.json.decode(out)["orderId"]
    return order_id


def test_an_order_is_placed_and_shown(fleet):
    code, out, _ = _run(fleet, "order", "lamp:2", "lamp", "--user", "jane")
    assert code == 0
    assert re.search(r"^Order \S{36} of jane: PENDING$", out, re.MULTILINE)
    assert re.search(r"2 .  Lamp +¥1,000 +¥2,000", out)


def test_a_watched_order_is_followed_until_its_mails_are_out(fleet):
    code, out, _ = _run(fleet, "order", "lamp:2", "--email", "jane@example.com", "--watch")
    assert code == 0
    told = re.findall(r"^ *[\d,]+ ms  (\w+) +(\w+)", out, re.MULTILINE)
    assert sorted(told) == [
        ("inventory", "StockDeducted"),
        ("inventory", "StockReserved"),
        *[("notifier", "NotificationSent")] * 3,
        ("order", "OrderCompleted"),
        ("order", "OrderConfirmed"),
        ("order", "OrderCreated"),
        ("shipping", "ShipmentCompleted"),
        ("shipping", "ShipmentInitiated"),
    ]
    assert out.endswith("\nCOMPLETED\n")
    assert "\x1b" not in out


def test_an_order_that_ends_otherwise_fails_the_command(fleet):
    code, out, _ = _run(fleet, "order", "chair:2", "--watch")
    assert code == 1
    assert "chair: 2 wanted, 1 there" in out
    assert out.endswith("\nCANCELLED_NO_STOCK\n")


def test_a_watched_order_speaks_json_line_by_line(fleet):
    code, out, _ = _run(fleet, "order", "lamp", "--watch", "--json")
    assert code == 0
    *events, order = [msgspec.json.decode(line) for line in out.splitlines()]
    assert events[0]["type"] == "OrderCreated"
    assert {event["correlationId"] for event in events} == {order["orderId"]}
    assert order["status"] == "COMPLETED"


def test_watching_outlives_the_death_of_the_read_api(fleet):
    fleet.terminate("shipping")
    fleet.start_service("shipping", carrier_min_seconds="4", carrier_max_seconds="4")
    asyncio.run(fleet.until_ready("shipping"))
    watching = _start(fleet, "order", "lamp", "--watch")
    assert watching.stdout
    first = _read_until(watching, "ShipmentInitiated")
    fleet.kill("read")
    fleet.start_service("read")
    out, err = watching.communicate(timeout=SECONDS)
    assert watching.returncode == 0, err
    told = re.findall(r"ms  \w+ +(\w+)", first + out)
    assert told.count("OrderCreated") == 1
    assert told.count("ShipmentInitiated") == 1
    assert told.count("OrderCompleted") == 1
    assert "the read API is gone; trying again" in err
    asyncio.run(fleet.until_ready("read"))


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    read = ""
    assert process.stdout
    while word not in read:
        line = process.stdout.readline()
        assert line, read
        read += line
    return read


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("lamp:x", "'lamp:x': 'x' is no quantity; say it like lamp:2"),
        ("lamp:0", "'lamp:0': '0' is no quantity; say it like lamp:2"),
        (":2", "':2' names no product; say it like prod001:2"),
    ],
)
def test_a_bad_argument_is_explained(fleet, argument, complaint):
    code, out, err = _run(fleet, "order", argument)
    assert (code, out) == (2, "")
    assert complaint in err


def test_an_order_without_lines_is_explained(fleet):
    code, _, err = _run(fleet, "order")
    assert code == 2
    assert "Missing argument 'PRODUCT[:QUANTITY]...'" in err


def test_a_refusal_is_one_sentence(fleet):
    code, out, err = _run(fleet, "order", "unicorn:1")
    assert (code, out, err) == (2, "", "Error: there is no product unicorn\n")


def test_a_shop_that_is_not_up_is_said(fleet):
    nobody = str(free_port())
    for arguments, where, port in (
        (("order", "lamp"), "order service", "QUADRILLE_ORDER_PORT"),
        (("orders",), "read API", "QUADRILLE_READ_PORT"),
        (("events", "--follow"), "read API", "QUADRILLE_READ_PORT"),
    ):
        code, out, err = _run(fleet, *arguments, **{port: nobody})
        assert (code, out) == (2, "")
        address = f"http://127.0.0.1:{nobody}/"
        assert err == f"Error: the {where} is not there at {address}: is the shop up? make up\n"


def test_a_misspelt_setting_is_said(fleet):
    code, _, err = _run(fleet, "orders", QUADRILLE_REED_PORT="1")
    assert code == 2
    assert err == (
        "Error: QUADRILLE_REED_PORT is not a setting; did you mean QUADRILLE_READ_PORT?\n"
    )


def test_orders_are_listed_newest_first_and_filtered(fleet):
    _run(fleet, "order", "lamp:3", "--user", "alice", "--watch")
    _run(fleet, "order", "lamp:4", "--user", "alice", "--watch")
    code, out, _ = _run(fleet, "orders", "--user", "alice")
    assert code == 0
    header, *rows = [line.rstrip() for line in out.splitlines()]
    assert header.split() == ["order", "status", "total", "age", "user", "items"]
    assert [row.split()[-1] for row in rows] == ["lamp:4", "lamp:3"]
    code, out, _ = _run(fleet, "orders", "--status", "cancelled_no_stock", "--user", "alice")
    assert (code, out) == (0, "No orders.\n")


def test_orders_speak_json_line_by_line(fleet):
    order_id = _order(fleet, "lamp:7")
    asyncio.run(fleet.until(order_id, "COMPLETED"))
    _, out, _ = _run(fleet, "orders", "--limit", "1", "--json")
    assert msgspec.json.decode(out)["orderId"] == order_id


def test_an_orders_events_are_told_in_causal_order(fleet):
    order_id = _order(fleet, "chair:9")
    asyncio.run(fleet.until(order_id, "CANCELLED_NO_STOCK"))
    code, out, _ = _run(fleet, "events", "--order", order_id)
    assert code == 0
    told = re.findall(r"ms  \w+ +(\w+)", out)
    assert told.index("OrderCreated") < told.index("StockReservationFailed")
    assert told.index("StockReservationFailed") < told.index("OrderCancelled")


def test_events_are_filtered_and_speak_json_line_by_line(fleet):
    _, out, _ = _run(fleet, "events", "--type", "StockReserved", "--limit", "2", "--json")
    events = [msgspec.json.decode(line) for line in out.splitlines()]
    assert [event["type"] for event in events] == ["StockReserved"] * 2
    assert events[0]["recordedAt"] < events[1]["recordedAt"]
    _, out, _ = _run(fleet, "events", "--source", "shipping", "--type", "StockReserved")
    assert out == "No such events.\n"


def test_following_shows_the_newest_events_and_then_each_new_one_once(fleet):
    before = _order(fleet, "lamp")
    asyncio.run(fleet.until(before, "COMPLETED"))
    following = _start(fleet, "events", "--follow", "--type", "OrderCreated", "--limit", "1")
    first = _read_until(following, before)
    after = _order(fleet, "lamp")
    second = _read_until(following, after)
    following.send_signal(2)
    rest, err = following.communicate(timeout=SECONDS)
    assert following.returncode == 130
    assert (rest, err) == ("", "")
    assert len((first + second).splitlines()) == 2


def test_an_unknown_order_is_said(fleet):
    code, _, err = _run(fleet, "events", "--order", "nothing")
    assert (code, err) == (2, "Error: there is no order nothing\n")
