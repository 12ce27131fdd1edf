"""Waits for the processes, loads the sample catalogue, and prints the addresses."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import click
import httpx
import msgspec
from rich.text import Text

from quadrille.launcher import sample_catalogue
from quadrille.launcher.configuration import Plan
from quadrille.launcher.sample_catalogue import CatalogueError, NotAllowed
from quadrille.output import console, echo, table
from shared.chassis.jetstream.errors import address_of

POLL_INTERVAL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
STARTUP_NOTICE_SECONDS = 10
"""After this time it prints what it is waiting for."""
LOAD_TIMEOUT_SECONDS = 30
ON_SALE_TIMEOUT_SECONDS = 5
ORDERED = 2
"""Units in the order to paste."""

IN_FOREGROUND = "Warnings appear below, the rest is in the logs. Ctrl-C stops everything."
IN_BACKGROUND = (
    "It runs in the background: quadrille status, quadrille logs --follow, quadrille down"
)


class Ready(msgspec.Struct, rename="camel"):
    """The answer of every process at `/health/ready`."""

    waiting_for: tuple[str, ...] = ()


class Startup:
    """One start of the shop."""

    def __init__(
        self, plan: Plan, viewer_url: str | None, on_ready: Callable[[], None] | None
    ) -> None:
        self._plan = plan
        self._on_ready = on_ready
        self._viewer_url = viewer_url
        self._http = httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_SECONDS)
        self._token: str | None = None
        self._not_allowed: str | None = None

    async def run(self) -> None:
        """Return when everything is printed. Raises ClickException for a catalogue that the inventory refuses."""
        async with self._http:
            await self._poll(self._not_ready)
            try:
                await self._poll(self._not_loaded, LOAD_TIMEOUT_SECONDS)
            except CatalogueError as error:
                raise click.ClickException(str(error)) from error
            await self._poll(self._not_on_sale, ON_SALE_TIMEOUT_SECONDS)
            print_addresses(self._plan)
            await self._print_order()
            print_end(self._viewer_url, in_background=self._on_ready is not None)
            if await self._not_on_sale():
                reason = self._not_allowed or "it was deleted"
                echo(f"The sample catalogue is not on sale: {reason}.\n")
            if self._on_ready:
                self._on_ready()

    async def _poll(
        self, reasons: Callable[[], Awaitable[list[str]]], timeout_seconds: float | None = None
    ) -> None:
        """Wait until there is no reason to wait, and print the reasons if it takes long."""
        started_at, printed = time.monotonic(), ""
        while missing := "; ".join(await reasons()):
            waited = time.monotonic() - started_at
            if timeout_seconds is not None and waited > timeout_seconds:
                return
            if waited > STARTUP_NOTICE_SECONDS and missing != printed:
                printed = missing
                echo(f"still waiting: {missing}")
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def _not_ready(self) -> list[str]:
        return [
            f"{part.name} waits for {reason}"
            for part in self._plan.parts
            for reason in await self._waiting_for(self._plan.address(part.name))
        ]

    async def _waiting_for(self, address: str) -> tuple[str, ...]:
        try:
            response = await self._http.get(f"{address}/health/ready")
            ready = msgspec.json.decode(response.content, type=Ready)
        except (httpx.TransportError, msgspec.MsgspecError):
            return ("its process",)
        return ready.waiting_for

    async def _not_loaded(self) -> list[str]:
        settings = self._plan.settings
        orders, inventory = self._plan.address("order"), self._plan.address("inventory")
        try:
            if settings.admin_password and not self._token:
                account = (settings.admin_email, settings.admin_password)
                self._token = await sample_catalogue.sign_in(self._http, orders, *account)
            await sample_catalogue.load_samples(self._http, inventory, self._token)
        except NotAllowed as error:
            self._not_allowed = str(error)
            # With a token it is only a matter of time: the key that signed it reaches the inventory as an event.
            return [self._not_allowed] if self._token else []
        except httpx.TransportError as error:
            return [f"the inventory does not answer: {error}"]
        self._not_allowed = None
        return []

    async def _not_on_sale(self) -> list[str]:
        try:
            on_sale = await sample_catalogue.is_on_sale(self._http, self._plan.address("order"))
        except httpx.TransportError as error:
            return [f"the order service does not answer: {error}"]
        return [] if on_sale else ["the order service has not received the catalogue"]

    async def _print_order(self) -> None:
        """One to paste, of a product with stock: it ends with its delivery."""
        try:
            inventory = self._plan.address("inventory")
            product_id = await sample_catalogue.find_in_stock(self._http, inventory, ORDERED)
        except httpx.TransportError:
            product_id = sample_catalogue.SAMPLES[0].product_id
        if product_id is None:
            echo("\nThe samples are sold out; as the admin: quadrille stock add prod001 10", "dim")
            return
        order = {
            "userId": "user123",
            "email": "user123@example.com",
            "items": [{"productId": product_id, "quantity": ORDERED}],
            "shippingAddress": sample_catalogue.ADDRESS,
        }
        echo("\nPlace an order from another terminal:\n", style="dim")
        echo(
            f"curl -sS -w '\\n' {self._plan.address('order')}/orders "
            f"-H 'Content-Type: application/json' -d '{json.dumps(order)}'"
        )


def print_addresses(plan: Plan) -> None:
    addresses = table("", "", "")
    addresses.show_header = False
    for part in plan.parts:
        url = plan.address(part.name) + part.page
        addresses.add_row(Text(part.title, style="bold"), url, part.purpose)
    broker = address_of(plan.settings.nats_url)
    addresses.add_row(Text("Broker", style="bold"), broker, "the events: stream SHOP")
    data_dir = str(plan.settings.data_dir)
    addresses.add_row(Text("Data", style="bold"), data_dir, "databases, mails, logs")
    echo("")
    console().print(addresses)


def print_end(viewer_url: str | None, *, in_background: bool) -> None:
    """What the nats command line needs, and how to stop the shop."""
    if viewer_url:
        echo("\nRead the events with the nats CLI, as a user who can only read:\n", style="dim")
        echo(f"export NATS_URL={viewer_url}")
    echo(f"\n{IN_BACKGROUND if in_background else IN_FOREGROUND}\n", style="dim")
