"""Opens the shop beside the supervisor: waits for every part, fills the shelves, greets, and minds the broker."""

import time
from collections.abc import Callable

import click
import httpx
import msgspec
from rich.text import Text

from quadrille.cli.output import console, echo, table
from quadrille.launcher import sample_catalogue
from quadrille.launcher.configuration import Plan
from quadrille.launcher.nats_server import EmbeddedBroker
from quadrille.launcher.processes import Supervisor
from shared.chassis.jetstream.errors import address_of

POLL_SECONDS = 0.05
WATCH_SECONDS = 0.2
PROBE_SECONDS = 2
STARTUP_NOTICE_SECONDS = 10
"""After so long it says what it waits for."""
STOCKING_SECONDS = 30
ON_SALE_SECONDS = 5

BROKER = "nats-server"
ORDER = (
    '{"userId": "user123", "email": "user123@example.com", '
    '"items": [{"productId": "prod001", "quantity": 2}]}'
)


class Ready(msgspec.Struct, rename="camel"):
    """What every part answers at `/health/ready`."""

    waiting_for: tuple[str, ...] = ()


class Steward:
    """Lives in a thread of its own; what goes wrong there ends the shop and is kept in `trouble`."""

    def __init__(
        self,
        plan: Plan,
        supervisor: Supervisor,
        broker: EmbeddedBroker | None,
        viewer_url: str | None,
    ) -> None:
        self._plan = plan
        self._viewer_url = viewer_url
        self._supervisor = supervisor
        self._broker = broker
        self._token: str | None = None
        self._refusal: str | None = None
        self.trouble: Exception | None = None

    def run(self) -> None:
        """From the children's start to their end."""
        while not self._supervisor.is_started():
            time.sleep(POLL_SECONDS)
        try:
            self._pause(0)  # it may have been told to end before there was anything to end
            self._open()
            while True:
                self._pause(WATCH_SECONDS)
        except _Ending:
            pass
        except sample_catalogue.CatalogueError as error:
            self.trouble = click.ClickException(str(error))
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self.trouble = error
        self._supervisor.terminate()

    def _open(self) -> None:
        self._until(self._not_ready)
        self._until(self._not_stocked, at_most=STOCKING_SECONDS)
        self._until(self._not_on_sale, at_most=ON_SALE_SECONDS)
        greet(self._plan, self._viewer_url)
        if self._not_on_sale():
            echo(f"The sample catalogue is not on sale: {self._refusal or 'it was deleted'}.\n")

    def _until(self, reasons: Callable[[], list[str]], at_most: float | None = None) -> None:
        """Until nothing is in the way any more; says after a while what is."""
        begin, said = time.monotonic(), ""
        while missing := "; ".join(reasons()):
            waited = time.monotonic() - begin
            if at_most is not None and waited > at_most:
                return
            if waited > STARTUP_NOTICE_SECONDS and missing != said:
                said = missing
                echo(f"still waiting: {missing}")
            self._pause(POLL_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Raises _Ending when there is nothing to wait for."""
        time.sleep(seconds)
        if self._supervisor.is_ending:
            raise _Ending
        self._supervisor.miss_the_lost()
        code = self._broker.ended() if self._broker else None
        if code is not None:
            self._supervisor.ended_first[BROKER] = code
            raise _Ending

    def _not_ready(self) -> list[str]:
        return [
            f"{part.name} waits for {reason}"
            for part in self._plan.parts
            for reason in waiting_for(self._plan.address(part.name))
        ]

    def _not_stocked(self) -> list[str]:
        settings = self._plan.settings
        try:
            if settings.admin_password and not self._token:
                orders = self._plan.address("order")
                self._token = sample_catalogue.sign_in(
                    orders, settings.admin_email, settings.admin_password
                )
            sample_catalogue.load_samples(self._plan.address("inventory"), self._token)
        except (
            sample_catalogue.NotAllowed
        ) as error:  # the inventory may hear of the admin's key a moment later
            self._refusal = str(error)
            return [self._refusal] if self._token else []
        except httpx.TransportError as error:
            return [f"the inventory does not take the catalogue: {error}"]
        self._refusal = None
        return []

    def _not_on_sale(self) -> list[str]:
        try:
            is_on_sale = sample_catalogue.is_on_sale(self._plan.address("order"))
        except httpx.TransportError as error:
            return [f"the order service does not answer: {error}"]
        return [] if is_on_sale else ["the order service has not heard of the catalogue"]


class _Ending(Exception):
    """A part has ended, or all were told to."""


def waiting_for(address: str) -> list[str]:
    """What a part says that it waits for; its process, while it says nothing."""
    try:
        answer = httpx.get(f"{address}/health/ready", timeout=PROBE_SECONDS, trust_env=False)
        ready = msgspec.json.decode(answer.content, type=Ready)
    except (httpx.TransportError, msgspec.MsgspecError):
        return ["its process"]
    return list(ready.waiting_for)


def greet(plan: Plan, viewer_url: str | None) -> None:
    """The short table of addresses, an order to paste, and what the nats command line needs."""
    shown = table("", "", "")
    shown.show_header = False
    for part in plan.parts:
        shown.add_row(
            Text(part.title, style="bold"), plan.address(part.name) + part.page, part.shows
        )
    shown.add_row(
        "JetStreamConnection", address_of(plan.settings.nats_url), "the events: stream SHOP"
    )
    shown.add_row("Data", str(plan.settings.data_dir), "databases, mails, logs")
    echo("")
    console().print(shown)
    echo("\nOrder something from another terminal:\n", style="dim")
    echo(
        f"curl -sS -w '\\n' {plan.address('order')}/orders "
        f"-H 'Content-Type: application/json' -d '{ORDER}'"
    )
    if viewer_url:
        echo("\nLook at the events with the nats CLI, as a user who may only look:\n", style="dim")
        echo(f"export NATS_URL={viewer_url}")
    echo("\nWarnings appear below, the rest is in the logs. Ctrl-C stops it all.\n", style="dim")
