"""The documents of reports. Money is in the minor unit of `currency`; revenue is that of completed orders."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from msgspec import Struct

from read_api.schemas import OrderView, StockView
from shared.contracts.order import OrderStatus


class Overview(Struct, frozen=True, kw_only=True, rename="camel"):
    """All orders since the first one; rates are shares of the orders that have ended, null while none has."""

    orders: int
    orders_by_status: Mapping[OrderStatus, int]
    guest_orders: int
    currency: str
    revenue: int
    average_order_value: int | None
    """Of completed orders; null without any."""
    units_ordered: int
    units_sold: int
    """Of completed orders."""
    cancellation_rate: float | None
    """Cancelled by the customer, expired, or without stock."""
    failure_rate: float | None
    """Their shipment failed."""
    customers: int
    """Registered; admins are not counted."""


class Buyer(Struct, frozen=True, kw_only=True, rename="camel"):
    """The orders of one customer, or of all guests."""

    orders: int
    completed: int
    lifetime_value: int
    average_order_value: int | None
    last_order_at: datetime | None


class CustomerFigures(Buyer, frozen=True, kw_only=True, rename="camel"):
    """A customer; `email` and `name` are null for one who is not registered here."""

    user_id: str
    email: str | None
    name: str | None


class CustomerFiguresPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The most valuable first; `guests` are all guests together. `next_cursor` asks for the rest."""

    currency: str
    guests: Buyer
    items: Sequence[CustomerFigures]
    next_cursor: str | None


class ProductFigures(Struct, frozen=True, kw_only=True, rename="camel"):
    """A product that was ordered; it may be deleted."""

    product_id: str
    name: str | None
    units_ordered: int
    units_sold: int
    revenue: int
    cancellations: int
    """Orders with it that were cancelled by the customer, expired, or had no stock."""


class ProductFiguresPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """By revenue, the highest first; `next_cursor` asks for the rest."""

    currency: str
    items: Sequence[ProductFigures]
    next_cursor: str | None


class DayFigures(Struct, frozen=True, kw_only=True, rename="camel"):
    """A local day: orders created, orders completed, and the revenue of the completed ones."""

    day: date
    orders: int
    completed: int
    revenue: int


class Daily(Struct, frozen=True, kw_only=True, rename="camel"):
    """Every requested day, the first one first, days without orders too."""

    timezone: str
    currency: str
    items: Sequence[DayFigures]


class SourceState(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the events of a service are applied."""

    source: str
    position: int
    """Of the last applied event."""
    recorded_at: datetime | None
    """When that was recorded."""
    lag_ms: float | None
    """How old it was when it was applied; null until one is, after a start."""
    missing: int | None
    """The position of an event that later ones wait for."""
    diverges_at: int | None
    """The first position that a held event claims and that is not waited for; `/events/held` lists them."""
    dead_letters: int
    """Events that the service could not handle and keeps."""


class Dashboard(Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of the shop, all of it at one moment."""

    timezone: str
    today: DayFigures
    overview: Overview
    low_stock: Sequence[StockView]
    """Products on sale, fewest available first."""
    latest_orders: Sequence[OrderView]
    dead_letters: int
    """Of all services, this one included."""
    sources: Sequence[SourceState]
