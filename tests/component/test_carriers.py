"""Shipments with a carrier over real HTTP that may misbehave, and with the simulated one."""

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient, Response
from msgspec.structs import replace

from quadrille.audit.snapshot import DEFINITIONS, read_snapshot
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime import service as service_module
from shared.chassis.settings import SettingsError
from shared.contracts import (
    DeliveryOverdue,
    LineItem,
    OrderCancellationRequested,
    OrderCreated,
    OrderItem,
    StockReserved,
)
from shared.settings import ShopSettings
from shipping_service import handlers
from shipping_service.app import build
from shipping_service.carriers import Booking, remote
from shipping_service.domain import ShippingState, evolve
from tests.support.access import Issuer
from tests.support.addresses import ADDRESS
from tests.support.chassis import publishing, started
from tests.support.eventually import eventually
from tests.support.fake_carrier import FakeCarrier
from tests.support.history import recorded

SECRET = "a secret of sixteen characters or more"
LINES = (LineItem(product_id="prod001", quantity=2),)
SERVICE = next(service for service in DEFINITIONS if service.name == "shipping")
CANCEL = OrderCancellationRequested(order_id="o1", reason="CUSTOMER")

PROBLEM = "urn:quadrille:problem"
ENDS = ("ShipmentCompleted", "ShipmentFailed")

Json = dict[str, Any]


ISSUER = Issuer()
"""One for all starts on a database, which pins its key."""


class Shipping:
    """The whole running service, with a publisher and an HTTP client."""

    def __init__(
        self,
        settings: ShopSettings,
        http: AsyncClient,
        publish: Any,
        received: dict[str, RecordedEvent],
    ) -> None:
        self._file = settings.data_dir / "shipping.db"
        self._http = http
        self._publish = publish
        self.received = received
        self.issuer = ISSUER

    async def sign_in(self) -> None:
        """Publish the issuer's key, so that its tokens are valid."""
        await self.receive(self.issuer.published)
        await eventually(self._knows_admin)

    async def receive(self, *events: Event | RecordedEvent) -> None:
        published = [
            event if isinstance(event, RecordedEvent) else recorded(event) for event in events
        ]
        await self._publish(published)
        self.received |= {event.event_id: event for event in published}

    async def ships(self, order_id: str = "o1") -> None:
        """Publish what a shipment needs."""
        item = OrderItem(product_id="prod001", quantity=2, price=5000)
        created = OrderCreated(
            order_id=order_id,
            user_id="user123",
            items=(item,),
            total_amount=10_000,
            currency="JPY",
            shipping_address=ADDRESS,
        )
        await self.receive(created, StockReserved(order_id=order_id, items=LINES))

    async def get(self, path: str, **headers: str) -> Response:
        return await self._http.get(path, headers=self._as_admin(headers))

    async def put(self, path: str, body: object, **headers: str) -> Response:
        return await self._http.put(path, json=body, headers=self._as_admin(headers))

    async def settle(self, body: object, order_id: str = "o1", **headers: str) -> Response:
        path = f"/shipments/{order_id}/settle"
        return await self._http.post(path, json=body, headers=self._as_admin(headers))

    async def called_back(self, report: object, signature: str | None = None) -> Response:
        body = report if isinstance(report, bytes) else msgspec.json.encode(report)
        signature = signed(body) if signature is None else signature
        return await self._http.post(
            "/carriers/http/callbacks", content=body, headers={"X-Signature": signature}
        )

    async def shipment(self, order_id: str = "o1") -> Json:
        answer = await self.get(f"/shipments/{order_id}")
        return answer.json() if answer.status_code == 200 else {"status": None}

    async def until(self, status: str, order_id: str = "o1") -> Json:
        async def reached() -> Json:
            shipment = await self.shipment(order_id)
            assert shipment["status"] == status
            return shipment

        return await eventually(reached)

    def event_types(self) -> list[str]:
        return [entry.recorded.event_type for entry in self._ledger().log]

    def events(self) -> list[RecordedEvent]:
        return [entry.recorded for entry in self._ledger().log]

    def has_failed_task(self) -> bool:
        """Whether the carrier of a task is not set up."""
        errors = [task.last_error or "" for task in self._ledger().tasks]
        return any("the carrier http is not set up" in error for error in errors)

    def tasks(self) -> list[str]:
        return [task.kind for task in self._ledger().tasks]

    async def at_rest(self) -> None:
        """No task is left, and the tables are the fold of all events."""

        def rests() -> bool:
            assert self.tasks() == []
            return True

        await eventually(rests)
        ledger = self._ledger()
        state = ShippingState()
        for event in (*self.received.values(), *ledger.events):
            state = evolve(state, event)
        assert state == ledger.state
        assert ledger.dead_letters == ()

    def _ledger(self):
        return read_snapshot(SERVICE, self._file)

    def _as_admin(self, headers: dict[str, str]) -> dict[str, str]:
        return self.issuer.headers("root", "admin") | headers

    async def _knows_admin(self) -> bool:
        return (await self.get("/shipments/none")).status_code == 404


def signed(body: bytes, secret: str = SECRET) -> str:
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


@contextlib.asynccontextmanager
async def shipping(
    settings: ShopSettings, before: Shipping | None = None
) -> AsyncIterator[Shipping]:
    """The running service; `before` is its previous run on the same database."""
    async with (
        started(build(settings)) as app,
        AsyncClient(transport=ASGITransport(app), base_url="http://shipping") as http,
        publishing(settings) as broker,
    ):
        service = Shipping(settings, http, broker.publish, before.received if before else {})
        await service.sign_in()
        yield service


@pytest.fixture
async def carrier() -> AsyncIterator[FakeCarrier]:
    async with FakeCarrier().running() as running:
        yield running


@pytest.fixture
def http_settings(shop_settings: ShopSettings, carrier: FakeCarrier) -> ShopSettings:
    return replace(
        shop_settings,
        carrier="http",
        carrier_url=carrier.url,
        carrier_secret=SECRET,
        carrier_max_attempts=3,
    )


@pytest.fixture
async def service(http_settings: ShopSettings) -> AsyncIterator[Shipping]:
    async with shipping(http_settings) as running:
        yield running


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An early withdrawal is repeated only once."""
    monkeypatch.setattr(handlers, "MAX_BOOKING_SECONDS", 0.2)


async def test_accepted_booking_is_dispatched(service: Shipping, carrier: FakeCarrier):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    assert shipment["reference"] == "R-1"
    [asked] = carrier.asked
    assert (asked.method, asked.path) == ("POST", "/bookings")
    assert asked.headers["idempotency-key"] == shipment["shipmentId"]
    assert asked.headers["content-type"] == "application/json"
    booking = msgspec.json.decode(asked.body, type=Booking)
    assert booking == Booking(
        shipment_id=shipment["shipmentId"], order_id="o1", items=LINES, shipping_address=ADDRESS
    )
    assert service.event_types() == ["ShipmentInitiated", "ShipmentDispatched"]
    await service.at_rest()


async def test_delivered_callback_completes_the_shipment(service: Shipping):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    answer = await service.called_back(delivered(shipment))
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["trackingNumber"]) == ("COMPLETED", "T-1")
    assert answer.headers["Consistency-Token"] == "shipping:3"
    assert service.event_types()[-1] == "ShipmentCompleted"
    await service.at_rest()


@pytest.mark.parametrize("reason", ["LOST", None])
async def test_failed_callback_fails_the_shipment(service: Shipping, reason: str | None):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    report = {"shipmentId": shipment["shipmentId"], "status": "failed", "reason": reason}
    answer = await service.called_back(report)
    assert (answer.status_code, answer.json()["status"]) == (200, "FAILED")
    assert answer.json()["reason"] == (reason or "CARRIER_FAILED")
    assert service.event_types()[-1] == "ShipmentFailed"
    await service.at_rest()


async def test_callback_with_wrong_signature_changes_nothing(service: Shipping):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    body = msgspec.json.encode(delivered(shipment))
    other = msgspec.json.encode(delivered(shipment) | {"trackingNumber": "T-2"})
    for signature in (
        "",
        "sha256=",
        signed(body, "a guess"),
        signed(other),
        signed(body).removeprefix("sha256="),
        signed(body).upper(),
        "sha256=\xe9",
    ):
        answer = await service.called_back(body, signature.encode("latin-1"))
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:quadrille:problem:bad-signature"
    assert (await service.shipment())["status"] == "DISPATCHED"


async def test_repeated_callback_changes_nothing(service: Shipping):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    first = await service.called_back(delivered(shipment))
    second = await service.called_back(delivered(shipment))
    assert (second.status_code, second.json()) == (200, first.json())
    contrary = {"shipmentId": shipment["shipmentId"], "status": "failed"}
    third = await service.called_back(contrary)
    assert (third.status_code, third.json()) == (200, first.json())
    assert service.event_types().count("ShipmentCompleted") == 1
    assert "ShipmentFailed" not in service.event_types()
    await service.at_rest()


async def test_callback_before_booking_confirmation_counts(service: Shipping, carrier: FakeCarrier):
    carrier.open.clear()
    await service.ships()
    await eventually(lambda: carrier.asked)
    shipment = await service.until("INITIATED")
    answer = await service.called_back(delivered(shipment))
    assert answer.json()["status"] == "COMPLETED"
    carrier.open.set()
    await service.at_rest()
    assert service.event_types() == ["ShipmentInitiated", "ShipmentCompleted"]


async def test_callback_for_unknown_shipment_is_404(service: Shipping):
    answer = await service.called_back(delivered({"shipmentId": "nothing"}))
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:quadrille:problem:unknown-shipment"


async def test_callback_of_another_carrier_is_404(service: Shipping):
    answer = await service._http.post("/carriers/simulated/callbacks", content=b"{}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:quadrille:problem:unknown-carrier"
    assert (await service.get("/carriers/simulated")).status_code == 404
    assert (await service.put("/carriers/simulated", SIMULATION)).status_code == 404


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b"\xff", "body"),
        ({}, "shipmentId"),
        ({"shipmentId": "a.b", "status": "failed"}, "shipmentId"),
        ({"shipmentId": "s1", "status": "lost"}, "status"),
        ({"shipmentId": "s1", "status": "failed", "reason": 1}, "reason"),
        ({"shipmentId": "s1", "status": "failed", "odd": 1}, "odd"),
    ],
)
async def test_malformed_callback_is_400(service: Shipping, report, field: str):
    answer = await service.called_back(report)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["field"] == field


async def test_delivered_callback_without_tracking_number_is_400(service: Shipping):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    answer = await service.called_back(
        {"shipmentId": shipment["shipmentId"], "status": "delivered"}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "trackingNumber"


@pytest.mark.parametrize("trouble", [503, 500, 429, 302, 304])
async def test_failed_booking_is_retried_under_same_key(
    service: Shipping, carrier: FakeCarrier, trouble: int
):
    carrier.troubles += [trouble]
    await service.ships()
    shipment = await service.until("DISPATCHED")
    keys = [asked.headers["idempotency-key"] for asked in carrier.asks("POST")]
    assert keys == [shipment["shipmentId"]] * 2
    await service.at_rest()


async def test_unanswered_booking_is_given_up_and_withdrawn(
    service: Shipping, carrier: FakeCarrier, soon: None
):
    carrier.troubles += [503, 503, 503]
    await service.ships()
    shipment = await service.until("FAILED")
    assert shipment["reason"] == "CARRIER_UNAVAILABLE"
    assert len(carrier.asks("POST")) == 3
    await service.at_rest()
    assert carrier.asks("DELETE")
    assert service.event_types() == ["ShipmentInitiated", "ShipmentFailed"]


async def test_booking_with_lost_confirmations_is_withdrawn(
    service: Shipping, carrier: FakeCarrier
):
    carrier.lost_answers = 3
    await service.ships()
    shipment = await service.until("FAILED")
    await service.at_rest()
    assert carrier.bookings == {}
    assert carrier.withdrawn == [shipment["shipmentId"]]


async def test_booking_with_lost_confirmation_happens_once(service: Shipping, carrier: FakeCarrier):
    carrier.lost_answers = 1
    await service.ships()
    shipment = await service.until("DISPATCHED")
    assert carrier.bookings == {shipment["shipmentId"]: "R-1"}
    assert len(carrier.asks("POST")) == 2


@pytest.mark.parametrize("confirmation", [b"nonsense", b"\xff", b"{}", b'{"reference": ""}'])
async def test_unreadable_confirmation_is_requested_again(
    service: Shipping, carrier: FakeCarrier, confirmation: bytes
):
    carrier.confirmation = confirmation
    await service.ships()
    await eventually(lambda: len(carrier.asked) == 2)
    carrier.confirmation = None
    assert (await service.until("DISPATCHED"))["reference"] == "R-1"


async def test_hanging_carrier_is_retried(
    http_settings: ShopSettings, carrier: FakeCarrier, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    carrier.troubles += [None]
    async with shipping(http_settings) as service:
        await service.ships()
        await service.until("DISPATCHED")
    assert len(carrier.asks("POST")) == 2


async def test_unreachable_carrier_is_given_up(http_settings: ShopSettings, soon: None):
    away = replace(http_settings, carrier_url="http://127.0.0.1:1/bookings")
    async with shipping(away) as service:
        await service.ships()
        shipment = await service.until("FAILED")
        assert shipment["reason"] == "CARRIER_UNAVAILABLE"
        await eventually(lambda: service.tasks() == ["withdrawal"])


@pytest.mark.parametrize("refusal", [400, 404, 422])
async def test_declined_booking_is_not_retried(
    service: Shipping, carrier: FakeCarrier, refusal: int
):
    carrier.troubles += [refusal]
    await service.ships()
    shipment = await service.until("FAILED")
    assert shipment["reason"] == f"CARRIER_DECLINED_{refusal}"
    await service.at_rest()
    assert len(carrier.asked) == 1


async def test_order_cancelled_before_booking_is_not_booked(
    service: Shipping, carrier: FakeCarrier, soon: None
):
    carrier.troubles += [503]
    await service.ships()
    await eventually(lambda: carrier.asked)
    await service.receive(CANCEL)
    await service.until("CANCELLED")
    await service.at_rest()
    assert carrier.bookings == {}
    assert carrier.asks("DELETE")
    assert service.event_types() == ["ShipmentInitiated", "ShipmentCancelled"]


async def test_early_cancellation_needs_no_carrier(service: Shipping, carrier: FakeCarrier):
    await service.receive(CANCEL)
    await service.until("CANCELLED")
    await service.ships()
    await service.ships("o2")
    await service.until("DISPATCHED", "o2")
    assert len(carrier.asked) == 1
    assert (await service.shipment())["shipmentId"] is None


async def test_booking_confirmed_after_cancellation_is_withdrawn(
    service: Shipping, carrier: FakeCarrier, soon: None
):
    carrier.open.clear()
    await service.ships()
    await eventually(lambda: carrier.asked)
    shipment = await service.until("INITIATED")
    await service.receive(CANCEL)
    await service.until("CANCELLED")
    carrier.open.set()
    await eventually(lambda: carrier.withdrawn)
    await service.at_rest()
    assert carrier.bookings == {}
    assert carrier.withdrawn == [shipment["shipmentId"]]
    assert set(service.event_types()) == {"ShipmentInitiated", "ShipmentCancelled"}
    late = await service.called_back(delivered(shipment))
    assert (late.status_code, late.json()["status"]) == (200, "CANCELLED")
    await service.at_rest()


async def test_booking_in_flight_at_crash_is_withdrawn(
    http_settings: ShopSettings, carrier: FakeCarrier, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service_module, "EFFECT_SECONDS", 0)
    carrier.open.clear()
    async with shipping(http_settings) as before:
        await before.ships()
        await eventually(lambda: carrier.asked)
        shipment = await before.until("INITIATED")
        await before.receive(CANCEL)
        await before.until("CANCELLED")
    withdrawals = len(carrier.asks("DELETE"))
    async with shipping(http_settings, before) as service:
        await eventually(lambda: len(carrier.asks("DELETE")) > withdrawals)
        assert carrier.withdrawn == []
        carrier.open.set()
        await service.at_rest()
    assert carrier.bookings == {}
    assert carrier.withdrawn == [shipment["shipmentId"]]


async def test_withdrawal_is_retried_until_accepted(
    service: Shipping, carrier: FakeCarrier, soon: None
):
    carrier.open.clear()
    await service.ships()
    await eventually(lambda: carrier.asked)
    await service.until("INITIATED")
    carrier.troubles += [503, 409]
    await service.receive(CANCEL)
    await service.until("CANCELLED")
    carrier.open.set()
    await service.at_rest()
    assert (carrier.bookings, len(carrier.withdrawn)) == ({}, 1)


async def test_dispatched_shipment_is_not_cancelled(service: Shipping, carrier: FakeCarrier):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    await service.receive(CANCEL)
    await eventually(lambda: service.event_types()[-1] == "ShipmentCancellationRefused")
    assert (await service.shipment())["status"] == "DISPATCHED"
    assert carrier.bookings == {shipment["shipmentId"]: "R-1"}
    assert (await service.called_back(delivered(shipment))).json()["status"] == "COMPLETED"
    await service.at_rest()


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        ("delivered", "COMPLETED", None),
        ("lost", "FAILED", "LOST"),
        ("returned", "FAILED", "RETURNED"),
    ],
)
async def test_operator_settles_dispatched_shipment(
    service: Shipping, outcome: str, status: str, reason: str | None
):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    operator = service.issuer.headers("olga", "operator")
    answer = await service.settle({"outcome": outcome, "note": "by telephone"}, **operator)
    assert answer.status_code == 200
    settled = answer.json()
    assert (settled["status"], settled["reason"]) == (status, reason)
    assert settled["note"] == "by telephone"
    assert settled["trackingNumber"] == ("R-1" if outcome == "delivered" else None)
    [end] = [event for event in service.events() if event.event_type in ENDS]
    assert (end.event.note, end.actor) == ("by telephone", "operator:olga")
    late = await service.called_back(delivered(shipment))
    assert (late.status_code, late.json()["status"]) == (200, status)
    assert late.json()["note"] is None, "the note is for the shop"
    other = "lost" if outcome == "delivered" else "delivered"
    refused = await service.settle({"outcome": other})
    assert (refused.status_code, refused.json()["type"]) == (409, f"{PROBLEM}:shipment-ended")
    await service.at_rest()


async def test_settling_a_changed_shipment_is_rejected(service: Shipping):
    await service.ships()
    await service.until("DISPATCHED")
    read = {"If-Match": (await service.get("/shipments/o1")).headers["ETag"]}
    first = await service.settle({"outcome": "lost"}, **read)
    assert first.status_code == 200
    second = await service.settle({"outcome": "delivered"}, **read)
    assert (second.status_code, second.json()["type"]) == (412, f"{PROBLEM}:precondition-failed")
    current = {"If-Match": first.headers["ETag"]}
    third = await service.settle({"outcome": "delivered"}, **current)
    assert (third.status_code, third.json()["type"]) == (409, f"{PROBLEM}:shipment-ended")


async def test_undispatched_or_unknown_shipment_is_not_settled(
    service: Shipping, carrier: FakeCarrier
):
    unknown = await service.settle({"outcome": "lost"})
    assert (unknown.status_code, unknown.json()["type"]) == (404, f"{PROBLEM}:unknown-shipment")
    carrier.open.clear()
    await service.ships()
    await service.until("INITIATED")
    early = await service.settle({"outcome": "lost"})
    assert (early.status_code, early.json()["type"]) == (409, f"{PROBLEM}:shipment-not-dispatched")
    carrier.open.set()
    wrong = await service.settle({"outcome": "eaten"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "outcome")


async def test_overdue_order_gets_its_outcome_again(service: Shipping):
    await service.ships()
    shipment = await service.until("DISPATCHED")
    await service.called_back(delivered(shipment))
    await service.receive(DeliveryOverdue(order_id="o1"))
    await eventually(lambda: service.event_types().count("ShipmentCompleted") == 2)
    await service.at_rest()


async def test_confirmed_tracking_number_is_kept(service: Shipping, carrier: FakeCarrier):
    carrier.confirmation = b'{"reference": "R-9", "trackingNumber": "T-9"}'
    await service.ships()
    shipment = await service.until("DISPATCHED")
    assert (shipment["reference"], shipment["trackingNumber"]) == ("R-9", "T-9")
    settled = await service.settle({"outcome": "delivered"})
    assert settled.json()["trackingNumber"] == "T-9"


async def test_shipment_keeps_its_carrier_after_restart(
    http_settings: ShopSettings, carrier: FakeCarrier
):
    """Its booking and its callback are of the carrier that was set at its start."""
    carrier.troubles += [503, 503]
    simulated = replace(http_settings, carrier="simulated", carrier_success_rate=1)
    async with shipping(http_settings) as before:
        await before.ships("o1")
        await before.ships("o2")
        await eventually(lambda: len(carrier.asked) >= 2)
        assert (await before.shipment("o1"))["carrier"] == "http"
    async with shipping(simulated, before) as service:
        await service.ships("o3")
        shipment = await service.until("DISPATCHED", "o1")
        assert (shipment["carrier"], shipment["reference"][:2]) == ("http", "R-")
        assert (await service.called_back(delivered(shipment))).json()["status"] == "COMPLETED"
        await service.until("DISPATCHED", "o2")
        completed = await service.until("COMPLETED", "o3")
        assert completed["carrier"] == "simulated"
        foreign = await service.called_back(delivered(completed))
        assert foreign.status_code == 404, "another carrier's shipment"
        await service.at_rest()


async def test_simulated_shipment_ends_under_another_carrier(
    http_settings: ShopSettings, carrier: FakeCarrier
):
    simulated = replace(
        http_settings,
        carrier="simulated",
        carrier_success_rate=1,
        carrier_min_delay_seconds=2,
        carrier_max_delay_seconds=2,
    )
    async with shipping(simulated) as before:
        await before.ships()
        await before.until("DISPATCHED")
    async with shipping(http_settings, before) as service:
        assert (await service.until("COMPLETED"))["trackingNumber"].startswith("SIM-")
        assert carrier.asked == []
        await service.at_rest()


async def test_booking_of_removed_carrier_waits(
    http_settings: ShopSettings, shop_settings: ShopSettings, carrier: FakeCarrier
):
    carrier.troubles += [503]
    async with shipping(replace(http_settings, carrier_max_attempts=50)) as before:
        await before.ships()
        await eventually(lambda: carrier.asked)
    async with shipping(replace(shop_settings, carrier_max_attempts=50), before) as service:
        await eventually(service.has_failed_task)
        assert (await service.shipment())["status"] == "INITIATED"
        assert len(carrier.asked) == 1


async def test_pending_booking_is_made_after_restart(
    http_settings: ShopSettings, carrier: FakeCarrier
):
    carrier.troubles += [503]
    async with shipping(http_settings) as before:
        await before.ships()
        await eventually(lambda: carrier.asked)
    async with shipping(http_settings, before) as service:
        shipment = await service.until("DISPATCHED")
        await service.at_rest()
    assert carrier.bookings == {shipment["shipmentId"]: "R-1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"carrier_url": None},
        {"carrier_secret": None},
        {"carrier_secret": "x" * 15},
        {"carrier_url": "carrier.example.com/bookings"},
        {"carrier_url": "ftp://carrier.example.com"},
        {"carrier_url": "http://"},
        {"carrier_url": "http://carrier.example.com:port"},
        {"carrier_url": "http://carrier.example.com/?key=1"},
    ],
)
async def test_unusable_carrier_settings_are_refused_at_start(
    http_settings: ShopSettings, changes: dict[str, str | None]
):
    with pytest.raises(SettingsError, match=r"QUADRILLE_CARRIER_(URL|SECRET)"):
        build(replace(http_settings, **changes))


SIMULATION = {"successRate": 0, "minDelaySeconds": 0, "maxDelaySeconds": 0}


async def test_simulated_carrier_can_be_changed_at_runtime(
    shop_settings: ShopSettings,
):
    async with shipping(replace(shop_settings, carrier_success_rate=1)) as service:
        await service.ships("o1")
        await service.until("COMPLETED", "o1")
        before = {"successRate": 1, "minDelaySeconds": 0, "maxDelaySeconds": 0}
        assert (await service.get("/carriers/simulated")).json() == before
        changed = await service.put("/carriers/simulated", SIMULATION)
        assert (changed.status_code, changed.json()) == (200, SIMULATION)
        assert (await service.get("/carriers/simulated")).json() == SIMULATION
        await service.ships("o2")
        await service.until("FAILED", "o2")
        slow = SIMULATION | {"minDelaySeconds": 500, "maxDelaySeconds": 500}
        await service.put("/carriers/simulated", slow)
        await service.ships("o3")
        await service.until("INITIATED", "o3")
        await service.receive(replace(CANCEL, order_id="o3"))
        await service.until("CANCELLED", "o3")
        await service.at_rest()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"successRate": 1.1}, "successRate"),
        ({"successRate": -0.1}, "successRate"),
        ({"successRate": "high"}, "successRate"),
        ({"minDelaySeconds": -1}, "minDelaySeconds"),
        ({"minDelaySeconds": 2, "maxDelaySeconds": 1}, "minDelaySeconds"),
        ({"maxDelaySeconds": 1e9}, "maxDelaySeconds"),
        ({"maxDelaySeconds": None}, "maxDelaySeconds"),
        ({"mood": "bad"}, "mood"),
    ],
)
async def test_simulated_carrier_refuses_impossible_settings(
    shop_settings: ShopSettings, change: Json, field: str
):
    async with shipping(shop_settings) as service:
        before = (await service.get("/carriers/simulated")).json()
        answer = await service.put("/carriers/simulated", SIMULATION | change)
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["field"] == field
        assert (await service.get("/carriers/simulated")).json() == before


async def test_only_admin_uses_shipments_and_simulated_carrier(
    shop_settings: ShopSettings,
):
    async with shipping(replace(shop_settings, carrier_success_rate=1)) as service:
        await service.ships()
        await service.until("COMPLETED")
        customer = service.issuer.headers("user123")["Authorization"]
        for who, status in ((customer, 403), ("", 401), ("Bearer x", 401), (STRANGER, 401)):
            for path in ("/shipments/o1", "/carriers/simulated"):
                assert (await service.get(path, Authorization=who)).status_code == status
            answer = await service.put("/carriers/simulated", SIMULATION, Authorization=who)
            assert answer.status_code == status
        assert (await service.get("/carriers/simulated")).json()["successRate"] == 1


STRANGER = Issuer().headers("root", "admin")["Authorization"]


def delivered(shipment: Json) -> Json:
    return {"shipmentId": shipment["shipmentId"], "status": "delivered", "trackingNumber": "T-1"}
