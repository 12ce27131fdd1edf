"""The whole shop as it runs in earnest: a real broker and the five services, each a process of its own.

What a test knows of it, it knows through HTTP, through mail, and from the database files.
"""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

from quadrille.audit.checks import run_checks
from quadrille.audit.pending import find_pending, find_warnings
from quadrille.audit.shop_snapshot import ShopSnapshot, read_shop
from quadrille.audit.snapshot import DEFINITIONS
from quadrille.launcher.nats_users import PROVISIONER
from shared.settings import port_of
from tests.support.broker import NatsServer
from tests.support.eventually import eventually
from tests.support.mail_sink import MailSink
from tests.support.settings import environment_of, settings_for

ROOT = Path(__file__).parents[2]
SERVICES = {
    "order": "order_service",
    "inventory": "inventory_service",
    "shipping": "shipping_service",
    "notifier": "notifier_service",
    "read": "read_api",
}
READY_SECONDS = 60
STOP_SECONDS = 10
SETTLE_SECONDS = 60
ANSWER_SECONDS = 60
SHOWN_LOG_LINES = 60
ADMIN_PASSWORD = "open sesame"

Json = dict[str, Any]

_open: list["Fleet"] = []


def open_fleets() -> list["Fleet"]:
    """Those in use, for whoever wants to read their logs."""
    return list(_open)


class Fleet:
    """JetStreamConnection, mail sink and services on free ports over one directory, which outlives their processes."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.broker = NatsServer(directory / "nats", has_users=True)
        self.mail = MailSink()
        self._logs = directory / "logs"
        self._settings = settings_for(
            directory / "data",
            self.broker.url,
            smtp_url=self.mail.url,
            admin_password=ADMIN_PASSWORD,
            **changes,
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._beside: list[subprocess.Popen[bytes]] = []
        self._chapter: dict[str, int] = {}
        self._http = httpx.Client(timeout=ANSWER_SECONDS)
        self._admin: dict[str, str] = {}
        self._admin_until = 0.0

    def __enter__(self) -> Self:
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, whatever state it is in."""
        processes = [*self._running.values(), *self._beside]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        self._running.clear()
        self._beside.clear()
        self.broker.terminate()
        self.mail.stop()
        self._http.close()
        _open.remove(self)

    @property
    def data_dir(self) -> Path:
        """Where the services keep their databases."""
        return self._settings.data_dir

    # Processes

    async def start(self, *names: str) -> None:
        """Start mail sink, broker and these services (all of them without names), and wait for them."""
        self.mail.start()
        self.broker.start()
        for name in names or SERVICES:
            self.start_service(name)
        await self.until_ready(*names or SERVICES)
        await self.sign_in()

    def start_service(self, name: str, **environment: str) -> None:
        """Start one, with settings of its own such as `failpoint="after_commit:3"`."""
        assert name not in self._running, f"{name} runs already"
        own = {f"QUADRILLE_{setting.upper()}": value for setting, value in environment.items()}
        if not self._beside:
            self._beside.append(self._spawn(PROVISIONER, ["quadrille", "provision"], {}))
        self._running[name] = self._spawn(name, [SERVICES[name]], own)

    def _spawn(self, name: str, module: list[str], own: dict[str, str]) -> subprocess.Popen[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        user = {"QUADRILLE_NATS_URL": self.broker.url_of(name)}
        with self._log_file(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=self._environment() | user | own,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def restart(self, name: str, **environment: str) -> None:
        """Ask one to stop, and start it again, perhaps with other settings."""
        self.terminate(name)
        self.start_service(name, **environment)
        await self.until_ready(name)

    async def until_ready(self, *names: str) -> None:
        """Wait until these say that they do their work."""
        for name in names:
            await eventually(lambda name=name: self._is_ready(name), READY_SECONDS)

    def kill(self, *names: str) -> None:
        """End these as by `kill -9`."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self.wait_exit(name)

    def terminate(self, *names: str) -> None:
        """Ask these to stop, all at once; each must do so with exit code 0 within ten seconds."""
        started_at = time.monotonic()
        for name in names:
            self._running[name].terminate()
        for name in names:
            left = started_at + STOP_SECONDS - time.monotonic()
            code = self.wait_exit(name, within_seconds=max(left, 0))
            assert code == 0, f"{name} ended with {code} on SIGTERM"

    def wait_exit(self, name: str, within_seconds: float = STOP_SECONDS) -> int:
        """The exit code of a process that ends, negative for a signal's."""
        try:
            code = self._running[name].wait(within_seconds)
        except subprocess.TimeoutExpired:
            message = f"{name} still runs after {within_seconds:.1f} s"
            raise AssertionError(message) from None
        del self._running[name]
        return code

    def has_ended(self, name: str) -> bool:
        """Whether its process is no more."""
        return self._running[name].poll() is not None

    def delete_database(self, name: str) -> None:
        """As if the service had never run."""
        assert name not in self._running, f"{name} still runs"
        for file in self.data_dir.glob(f"{name}.db*"):
            file.unlink()

    # What they have said

    def begin_chapter(self) -> None:
        """What is logged from now on is what `chapter` shows."""
        self._chapter = {name: len(self.log(name)) for name in SERVICES}

    def chapter(self) -> str:
        """The end of each log, as far as it was written since `begin_chapter`."""
        shown = []
        for name in SERVICES:
            lines = self.log(name)[self._chapter.get(name, 0) :].splitlines()
            shown += [f"--- {name}", *lines[-SHOWN_LOG_LINES:]]
        return "\n".join(shown)

    def log(self, name: str) -> str:
        """All that a service has printed."""
        file = self._log_file(name)
        return file.read_text() if file.exists() else ""

    # HTTP

    def url(self, name: str, path: str = "") -> str:
        """An address of a service."""
        return f"http://127.0.0.1:{self.port(name)}{path}"

    def port(self, name: str) -> int:
        """Where a service listens."""
        return port_of(self._settings, name)

    def answers(self, name: str) -> bool:
        """Whether the service listens."""
        try:
            self._http.get(self.url(name, "/health/live"))
        except httpx.TransportError:
            return False
        return True

    async def sign_in(self) -> None:
        """From now on ask and tell as the admin; orders are placed by guests all the same."""
        self._sign_in()
        for name in self._running:
            await eventually(lambda name=name: self._knows_admin(name), READY_SECONDS)

    @property
    def admin_headers(self) -> dict[str, str]:
        """Those of a request by the admin; empty before `sign_in`. A token near its end is replaced."""
        if self._admin and time.monotonic() >= self._admin_until and self.answers("order"):
            self._sign_in()
        return self._admin

    def _sign_in(self) -> None:
        account = {"email": self._settings.admin_email, "password": ADMIN_PASSWORD}
        response = self._http.post(self.url("order", "/auth/login"), json=account)
        assert response.status_code == 200, response.text
        tokens = response.json()
        self._admin = {"Authorization": f"Bearer {tokens['accessToken']}"}
        self._admin_until = time.monotonic() + tokens["expiresIn"] / 2

    def get(self, name: str, path: str, **params: Any) -> httpx.Response:
        """Ask a service."""
        return self._http.get(self.url(name, path), params=params, headers=self.admin_headers)

    def show(self, name: str, path: str, **params: Any) -> Json:
        """What a service shows there; it must be there."""
        response = self.get(name, path, **params)
        assert response.status_code == 200, response.text
        shown: Json = response.json()
        return shown

    def post(self, name: str, path: str, body: object, *, key: str | None = None) -> httpx.Response:
        """Tell a service."""
        headers = _key_header(key) | self.admin_headers
        return self._http.post(self.url(name, path), json=body, headers=headers)

    def post_raw(self, name: str, path: str, body: bytes) -> httpx.Response:
        """Send a service something that may be no JSON at all."""
        headers = {"Content-Type": "application/json"} | self.admin_headers
        return self._http.post(self.url(name, path), content=body, headers=headers)

    def put(self, name: str, path: str, body: object) -> httpx.Response:
        """Tell a service how something is from now on."""
        return self._http.put(self.url(name, path), json=body, headers=self.admin_headers)

    @contextlib.contextmanager
    def stream(self, name: str, path: str) -> Iterator[httpx.Response]:
        """An open connection on which the service keeps telling."""
        with self._http.stream("GET", self.url(name, path), headers=self.admin_headers) as response:
            yield response

    def watch(self, path: str, *until: str, after: Json | None = None) -> list[Json]:
        """The events that a stream of the read API tells, mails aside, until there was one of each type.

        Each with the `streamId` by which the stream can be resumed behind it.
        """
        events: list[Json] = []
        awaited = set(until)
        headers = {"Last-Event-ID": after["streamId"]} if after else {}
        headers |= self.admin_headers
        stream_id = ""
        with self._http.stream("GET", self.url("read", path), headers=headers) as response:
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
        self,
        *lines: tuple[str, int],
        key: str | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Order so many of these products, as a guest."""
        order = order_of(lines, fields)
        return self._http.post(self.url("order", "/orders"), json=order, headers=_key_header(key))

    def order(self, *lines: tuple[str, int], **fields: Any) -> Json:
        """Order, and have it accepted."""
        response = self.post_order(*lines, **fields)
        assert response.status_code == 201, response.text
        accepted: Json = response.json()
        return accepted

    def order_insistently(self, *lines: tuple[str, int], **fields: Any) -> Json:
        """Order under one key until there is an answer, as a client does that does not know what became of it."""
        key = str(uuid4())
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                response = self.post_order(*lines, key=key, **fields)
                if response.status_code not in {409, 503}:
                    assert response.status_code == 201, response.text
                    accepted: Json = response.json()
                    return accepted
            time.sleep(0.02)
        message = f"no answer to {key} within {ANSWER_SECONDS} s"
        raise AssertionError(message)

    # The shop

    async def stock_up(self, **quantities: int) -> None:
        """Create products by id, each at 1,000, and wait until they can be ordered."""
        for product_id, quantity in quantities.items():
            product = {
                "productId": product_id,
                "name": product_id.capitalize(),
                "price": 1000,
                "stock": quantity,
            }
            response = self.post("inventory", "/products", product)
            assert response.status_code == 201, response.text
        for product_id in quantities:
            await eventually(
                lambda product_id=product_id: self.is_for_sale(product_id), READY_SECONDS
            )

    def is_for_sale(self, product_id: str, price: int = 1000) -> bool:
        """Whether the order service knows the product at this price; asks with a wrong one."""
        order = order_of([(product_id, 1)], {})
        order["items"][0]["price"] = price + 1
        problem = self.post("order", "/orders", order).json()
        return problem.get("price") == price

    def stock(self, product_id: str) -> tuple[int, int]:
        """How many there are, and how many of these are held for orders."""
        product = self.show("inventory", f"/products/{product_id}")
        assert product["available"] == product["onHand"] - product["reserved"]
        return product["onHand"], product["reserved"]

    def status(self, order_id: str) -> str:
        """Where the order service says an order stands."""
        status: str = self.show("order", f"/orders/{order_id}")["status"]
        return status

    async def until(self, order_id: str, status: str, within_seconds: float = 30) -> Json:
        """The order as the read API shows it once it stands so."""

        def reached() -> Json | None:
            response = self.get("read", f"/orders/{order_id}")
            shown: Json = response.json()
            assert shown.get("status") == status, shown
            return shown

        shown = await eventually(reached, within_seconds)
        assert shown is not None
        return shown

    async def until_story(self, order_id: str, *event_types: str) -> None:
        """Wait until the read API tells just these events of an order, mails aside, causes before effects."""

        def told() -> bool:
            timeline = self.show("read", f"/orders/{order_id}/timeline")["items"]
            types = [event["type"] for event in timeline if event["source"] != "notifier"]
            assert sorted(types) == sorted(event_types)
            return True

        await eventually(told, 30)

    async def settle(self, within_seconds: float = SETTLE_SECONDS) -> None:
        """Wait until nothing is on its way any more, then find every invariant kept and nothing given up."""
        shop = await eventually(self._at_rest, within_seconds)
        assert run_checks(shop) == []
        assert list(find_warnings(shop)) == []

    def _at_rest(self) -> ShopSnapshot:
        """The databases, when every event is sent and heard, and no task waits."""
        for service in DEFINITIONS:
            assert _unfinished(self.data_dir / f"{service.name}.db") == 0, service.name
        shop = read_shop(self.data_dir)
        assert list(find_pending(shop)) == []
        return shop

    def _is_ready(self, name: str) -> bool:
        if self.has_ended(name):
            message = f"{name} has ended:\n{self.chapter()}"
            raise RuntimeError(message)
        if not self.answers(name):
            return False
        response = self._http.get(self.url(name, "/health/ready"))
        assert response.status_code == 200, f"{name}: {response.text}"
        return True

    def _knows_admin(self, name: str) -> bool:
        """Whether the key that signs tokens has come as far as this service."""
        return self.get(name, "/health/live").status_code == 200

    def _log_file(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        outside = {
            name: value
            for name, value in os.environ.items()  # noqa: TID251 - handed on to the processes
            if not name.startswith("QUADRILLE_")
        }
        return outside | environment_of(self._settings)


def order_of(lines: Sequence[tuple[str, int]], fields: Mapping[str, Any]) -> Json:
    """The body of an order."""
    items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in lines]
    return {"items": items, **fields}


def _key_header(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _unfinished(database: Path) -> int:
    """How much a service has still to send and to do; much cheaper than to read all it has done."""
    query = "SELECT (SELECT count(*) FROM event_log WHERE stream_seq IS NULL) + count(*) FROM task"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count: int = connection.execute(query).fetchone()[0]
    return count
