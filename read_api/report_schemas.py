"""What the shop amounts to, as clients see it. Money is in the minor unit of `currency`, and revenue that of completed orders."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from msgspec import Struct

from read_api.models import OrderStatus
from read_api.schemas import OrderView, StockView


class Overview(Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything since the beginning; rates are shares of the orders that have ended, null while none has."""

    orders: int
    orders_by_status: Mapping[OrderStatus, int]
    guest_orders: int
    currency: str
    revenue: int
    average_order_value: int | None
    """Of completed orders; null while there is none."""
    units_ordered: int
    units_sold: int
    """Of completed orders."""
    cancellation_rate: float | None
    """Cancelled by the customer, by the clock, or for want of stock."""
    failure_rate: float | None
    """Could not be shipped."""
    customers: int
    """Who have signed up."""


class Buyer(Struct, frozen=True, kw_only=True, rename="camel"):
    """What somebody has ordered, and what came of it."""

    orders: int
    completed: int
    lifetime_value: int
    average_order_value: int | None
    last_order_at: datetime | None


class CustomerFigures(Buyer, frozen=True, kw_only=True, rename="camel"):
    """A customer; `email` and `name` are null for one who has not signed up here."""

    user_id: str
    email: str | None
    name: str | None


class CustomerFiguresPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The most valuable first; all guests together are one of their own. `next_cursor` asks for the rest."""

    currency: str
    guests: Buyer
    items: Sequence[CustomerFigures]
    next_cursor: str | None


class ProductFigures(Struct, frozen=True, kw_only=True, rename="camel"):
    """A product that was ordered; it may not be sold any more."""

    product_id: str
    name: str | None
    units_ordered: int
    units_sold: int
    revenue: int
    cancellations: int
    """Orders with it that were cancelled by the customer, by the clock, or for want of stock."""


class ProductFiguresPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """What brought most first; `next_cursor` asks for the rest."""

    currency: str
    items: Sequence[ProductFigures]
    next_cursor: str | None


class DayFigures(Struct, frozen=True, kw_only=True, rename="camel"):
    """A local day: orders that came in, and orders that were completed, with what these brought."""

    day: date
    orders: int
    completed: int
    revenue: int


class Daily(Struct, frozen=True, kw_only=True, rename="camel"):
    """Every day asked for, the first one first; those without any orders too."""

    timezone: str
    currency: str
    items: Sequence[DayFigures]


class SourceState(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far we have heard a service."""

    source: str
    position: int
    """Of the last event that is among the rows."""
    recorded_at: datetime | None
    """When that happened."""
    lag_ms: float | None
    """How old it was when it got here; null until one comes."""
    missing: int | None
    """The position of an event that later ones have overtaken."""
    diverges_at: int | None
    """The first position that a held event claims and that is not waited for; `/events/held` lists them."""
    dead_letters: int
    """Events that the service has given up and kept."""


class Dashboard(Struct, frozen=True, kw_only=True, rename="camel"):
    """The shop at a glance, all of it at one moment."""

    timezone: str
    today: DayFigures
    overview: Overview
    low_stock: Sequence[StockView]
    """Products that are sold, fewest available first."""
    latest_orders: Sequence[OrderView]
    dead_letters: int
    """Of all services, this one included."""
    sources: Sequence[SourceState]
