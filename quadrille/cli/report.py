"""`quadrille report`: revenue, sales, stock and problems."""

from collections.abc import Iterator
from datetime import date, timedelta

import click
from rich.table import Table
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.endpoints import Json, load_settings
from quadrille.output import MAX_LIMIT, console, echo, echo_json, table
from shared.money import money

MAX_DAYS = 366
UNKNOWN = "–"  # noqa: RUF001 - a dash is meant


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=7,
    show_default=True,
    help="The number of days, the last being today.",
)
@click.option(
    "--top",
    type=click.IntRange(1, MAX_LIMIT),
    default=5,
    show_default=True,
    help="The number of products.",
)
@click.option(
    "--timezone",
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="Of the days, e.g. Asia/Tokyo.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def report(days: int, top: int, timezone: str, *, as_json: bool) -> None:
    """Revenue counts completed orders only. Products with little stock and problems follow the figures.

    Only for the admin: quadrille login admin@example.com
    """
    client = Client(load_settings())
    dashboard = client.get("read", "/dashboard", timezone=timezone)
    products = client.get("read", "/marketing/products", limit=top)
    last = date.fromisoformat(dashboard["today"]["day"])
    period = {"from": last - timedelta(days=days - 1), "to": last, "timezone": timezone}
    daily = client.get("read", "/marketing/daily", **period)
    if as_json:
        echo_json({"dashboard": dashboard, "products": products, "daily": daily})
        return
    _print_overview(dashboard["overview"])
    _print_products(products)
    _print_days(daily)
    _print_low_stock(dashboard["lowStock"])
    for problem in _problems(dashboard):
        echo("")
        echo(problem, "yellow")


def _print_overview(overview: Json) -> None:
    currency = overview["currency"]
    average = overview["averageOrderValue"]
    by_status = ", ".join(
        f"{count:,} {status}" for status, count in overview["ordersByStatus"].items() if count
    )
    grid = table("name", "figure")
    grid.show_header = False
    for name, figure in (
        ("Revenue", money(overview["revenue"], currency)),
        ("Average order", UNKNOWN if average is None else money(average, currency)),
        ("Units", f"{overview['unitsSold']:,} sold of {overview['unitsOrdered']:,} ordered"),
        ("Orders", f"{overview['orders']:,}, {overview['guestOrders']:,} of them by guests"),
        ("", by_status),
        ("Of final orders", _rates(overview)),
        ("Customers", f"{overview['customers']:,}"),
    ):
        if figure:
            grid.add_row(Text(name, "bold"), figure)
    console().print(grid)


def _rates(overview: Json) -> str:
    if overview["cancellationRate"] is None:
        return ""
    return f"{overview['cancellationRate']:.1%} cancelled, {overview['failureRate']:.1%} failed"


def _print_products(page: Json) -> None:
    if not page["items"]:
        return
    grid = _titled_table("Products", "revenue", "sold", "ordered", "cancelled", "product")
    for product in page["items"]:
        grid.add_row(
            money(product["revenue"], page["currency"]),
            f"{product['unitsSold']:,}",
            f"{product['unitsOrdered']:,}",
            f"{product['cancellations']:,}",
            product["name"] or product["productId"],
        )
    console().print(grid)


def _print_days(daily: Json) -> None:
    grid = _titled_table(f"Days ({daily['timezone']})", "revenue", "completed", "orders", "day")
    for day in daily["items"]:
        revenue = money(day["revenue"], daily["currency"])
        grid.add_row(revenue, f"{day['completed']:,}", f"{day['orders']:,}", day["day"])
    console().print(grid)


def _print_low_stock(products: list[Json]) -> None:
    if not products:
        return
    grid = _titled_table("Low stock", "available", "reserved", "product")
    for product in products:
        available, reserved = f"{product['available']:,}", f"{product['reserved']:,}"
        grid.add_row(available, reserved, product["productId"])
    console().print(grid)


def _titled_table(title: str, *columns: str) -> Table:
    """All columns but the last are figures."""
    echo("")
    echo(title, "bold")
    return table(*columns, right=range(len(columns) - 1))


def _problems(dashboard: Json) -> Iterator[str]:
    for source in dashboard["sources"]:
        if source["missing"]:
            event = f"event {source['missing']:,} of {source['source']}"
            yield f"{event} is missing, but later ones have arrived"
    for source in dashboard["sources"]:
        if source["divergesAt"]:
            log = f"the log of {source['source']}"
            yield f"{log} diverges at position {source['divergesAt']:,}: quadrille held"
    if dashboard["deadLetters"]:
        yield f"{dashboard['deadLetters']:,} events are dead letters: quadrille check"
