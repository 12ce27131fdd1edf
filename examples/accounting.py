"""A complete service: issues one invoice for each completed order.

QUADRILLE_NATS_URL=nats://127.0.0.1:4222 .venv/bin/python -m examples.accounting
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import ClassVar

from litestar import Litestar
from msgspec import Struct
from sqlalchemy import Column, MetaData, Table, Text

from shared.chassis.engine.rebuild import DerivedTables, derived_tables_of
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.messages.catalog import Catalog
from shared.chassis.messages.decider import Decider, on
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.runtime.process import run
from shared.chassis.runtime.service import Service
from shared.chassis.settings import ChassisSettings, load
from shared.chassis.storage.database import UtcTime
from shared.chassis.storage.entity_store import EntityStore, EntityTable
from shared.contracts import OrderCompleted, OrderId


class AccountingSettings(ChassisSettings, frozen=True, kw_only=True):
    """`QUADRILLE_ACCOUNTING_PORT`, besides what every service has."""

    accounting_port: int = 8090


class InvoiceIssued(Event, frozen=True, kw_only=True):
    """The order was delivered, so its invoice was issued."""

    SOURCE: ClassVar[str] = "accounting"
    ENTITY: ClassVar[str] = "order_id"

    order_id: OrderId


class IssueInvoice(Struct, frozen=True, kw_only=True):
    """Issue the invoice of an order, unless there is one."""

    order_id: OrderId


class Invoice(Struct, frozen=True, kw_only=True):
    """A row of the table `invoices`."""

    order_id: str
    issued_at: datetime


class AccountingState(Struct, frozen=True, kw_only=True):
    """The invoices that a command touches, by order id."""

    invoices: Mapping[str, Invoice] = {}


def decide(state: AccountingState, command: IssueInvoice) -> list[Event]:
    """A repeated command leads to no event."""
    if command.order_id in state.invoices:
        return []
    return [InvoiceIssued(order_id=command.order_id)]


def evolve(state: AccountingState, recorded: RecordedEvent) -> AccountingState:
    """The state after an event, our own or a consumed one."""
    match recorded.event:
        case InvoiceIssued(order_id=order_id):
            invoice = Invoice(order_id=order_id, issued_at=recorded.recorded_at)
            return AccountingState(invoices={**state.invoices, order_id: invoice})
        case _:
            return state


def issue_invoice(completed: OrderCompleted) -> IssueInvoice:
    """The command that a completed order leads to."""
    return IssueInvoice(order_id=completed.order_id)


METADATA = MetaData()
INVOICES = Table(
    "invoices",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("issued_at", UtcTime, nullable=False),
)

LOGIC = ServiceLogic(
    decider=Decider(AccountingState(), decide, evolve),
    store=EntityStore(AccountingState, invoices=EntityTable(Invoice, INVOICES, "order")),
    subscriptions=(on(OrderCompleted, issue_invoice),),
)
CATALOG = Catalog([OrderCompleted, InvoiceIssued], key_issuer="order")


def derived_tables() -> DerivedTables:
    """A function of this module: a process that rebuilds the tables finds it by its name."""
    return derived_tables_of("accounting", LOGIC.store, evolve, CATALOG)


def build(settings: AccountingSettings) -> Litestar:
    """The application; nothing runs yet."""
    service = Service(
        "accounting", settings, LOGIC, METADATA, derived=derived_tables, catalog=CATALOG
    )
    return service.app("Accounting", [])


if __name__ == "__main__":
    run("accounting", partial(load, AccountingSettings), attrgetter("accounting_port"), build)
