"""`quadrille report`: what the shop amounts to."""

from datetime import date, timedelta
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.endpoints import settings
from quadrille.cli.output import console, echo, echo_json, money, table

MAX_DAYS = 366
UNKNOWN = "–"  # noqa: RUF001 - a dash is what it is


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=7,
    show_default=True,
    help="How many days to list, today being the last.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 200),
    default=5,
    show_default=True,
    help="How many products to list.",
)
@click.option(
    "--timezone",
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="Whose days, e.g. Asia/Tokyo.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as one JSON document.")
def report(days: int, top: int, timezone: str, *, as_json: bool) -> None:
    """Show what the shop amounts to.

    Revenue is that of completed orders only. Below the figures: what runs low, and what wants looking after.

    Only the admin may see it: quadrille login admin@example.com
    """
    client = Client(settings())
    dashboard = client.get("read", "/dashboard", timezone=timezone)
    products = client.get("read", "/marketing/products", limit=top)
    last = date.fromisoformat(dashboard["today"]["day"])
    period = {"from": last - timedelta(days=days - 1), "to": last, "timezone": timezone}
    daily = client.get("read", "/marketing/daily", **period)
    if as_json:
        echo_json({"dashboard": dashboard, "products": products, "daily": daily})
        return
    _show_overview(dashboard["overview"])
    _show_products(products)
    _show_days(daily)
    _show_stock(dashboard["lowStock"])
    _show_troubles(dashboard)


def _show_overview(overview: dict[str, Any]) -> None:
    currency = overview["currency"]
    average = overview["averageOrderValue"]
    by_status = ", ".join(
        f"{count:,} {status}" for status, count in overview["ordersByStatus"].items() if count
    )
    shown = table("what", "how much")
    shown.show_header = False
    for what, how_much in (
        ("Revenue", money(overview["revenue"], currency)),
        ("An order, on average", UNKNOWN if average is None else money(average, currency)),
        ("Units", f"{overview['unitsSold']:,} sold of {overview['unitsOrdered']:,} ordered"),
        ("Orders", f"{overview['orders']:,}, {overview['guestOrders']:,} of them by guests"),
        ("", by_status),
        ("Of the ended", _rates(overview)),
        ("Customers", f"{overview['customers']:,}"),
    ):
        shown.add_row(Text(what, "bold"), how_much) if how_much else None
    console().print(shown)


def _rates(overview: dict[str, Any]) -> str:
    if overview["cancellationRate"] is None:
        return ""
    return f"{overview['cancellationRate']:.1%} cancelled, {overview['failureRate']:.1%} failed"


def _show_products(page: dict[str, Any]) -> None:
    if not page["items"]:
        return
    shown = _headed("Products", "revenue", "sold", "ordered", "cancelled", "product")
    for each in page["items"]:
        shown.add_row(
            money(each["revenue"], page["currency"]),
            f"{each['unitsSold']:,}",
            f"{each['unitsOrdered']:,}",
            f"{each['cancellations']:,}",
            each["name"] or each["productId"],
        )
    console().print(shown)


def _show_days(daily: dict[str, Any]) -> None:
    shown = _headed(f"Days ({daily['timezone']})", "revenue", "completed", "orders", "day")
    for each in daily["items"]:
        revenue = money(each["revenue"], daily["currency"])
        shown.add_row(revenue, f"{each['completed']:,}", f"{each['orders']:,}", each["day"])
    console().print(shown)


def _show_stock(low: list[dict[str, Any]]) -> None:
    if not low:
        return
    shown = _headed("Running low", "free", "held", "product")
    for each in low:
        shown.add_row(f"{each['available']:,}", f"{each['reserved']:,}", each["productId"])
    console().print(shown)


def _headed(title: str, *columns: str) -> Table:
    """A table of figures below its title; the last column is what they are of."""
    echo("")
    echo(title, "bold")
    shown = table(*columns)
    for column in shown.columns[:-1]:
        column.justify = "right"
    return shown


def _show_troubles(dashboard: dict[str, Any]) -> None:
    troubles = [
        f"event {source['missing']:,} of {source['source']} is missing, later ones have come"
        for source in dashboard["sources"]
        if source["missing"]
    ]
    troubles += [
        f"{source['source']}'s log diverges at position {source['divergesAt']:,}: quadrille held"
        for source in dashboard["sources"]
        if source["divergesAt"]
    ]
    if dashboard["deadLetters"]:
        troubles.append(f"{dashboard['deadLetters']:,} events were given up: quadrille check")
    for trouble in troubles:
        echo("")
        echo(trouble, "yellow")
