"""`quadrille customer`: lists customers, and shows one with cart and latest orders."""

import click

from quadrille.cli.api_client import Client, NotFoundError
from quadrille.cli.orders import print_orders
from quadrille.cli.params import json_lines_option, json_option
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import MAX_LIMIT, console, echo, echo_json, echo_page, local_time, table
from shared.money import money

LATEST = 5


@click.group()
def customer() -> None:
    """\b
    For example:
      quadrille customer list --search jane
      quadrille customer show jane@example.com

    Only for the admin: quadrille login admin@example.com
    """


@customer.command("list")
@click.option("--search", metavar="WORDS", help="Only those with these in id, address or name.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True)
@json_lines_option
def list_customers(search: str | None, limit: int, *, as_json: bool) -> None:
    """List customers, newest first."""
    page = Client(load_settings()).get("read", "/customers", q=search, limit=limit)
    echo_page(page, _print, "No customers.", as_json=as_json)


@customer.command()
@click.argument("customer", metavar="USER_ID|EMAIL")
@json_option
def show(customer: str, *, as_json: bool) -> None:
    """Show a customer's account, cart and latest orders."""
    client = Client(load_settings())
    account = _find(client, customer)
    user_id = account["userId"]
    cart = client.get("read", f"/carts/{segment(user_id)}")
    orders = client.get("read", "/orders", userId=user_id, limit=LATEST)["items"]
    if as_json:
        echo_json({"customer": account, "cart": cart, "orders": orders})
    else:
        _print_detail(account, cart, orders, client.settings.currency)


def _find(client: Client, customer: str) -> Json:
    if "@" not in customer:
        return client.get("read", f"/customers/{segment(customer)}")
    page = client.get("read", "/customers", q=customer, limit=MAX_LIMIT)
    for candidate in page["items"]:
        if candidate["email"] == customer.lower():
            return candidate
    raise NotFoundError(f"no customer has the address {customer}")


def _print(customers: list[Json]) -> None:
    grid = table("user", "role", "e-mail", "name")
    for account in customers:
        grid.add_row(account["userId"], account["role"], account["email"], account["name"] or "")
    console().print(grid)


def _print_detail(account: Json, cart: Json, orders: list[Json], currency: str) -> None:
    name = f" ({account['name']})" if account["name"] else ""
    echo(f"{account['email']}{name}, {account['role']}, user {account['userId']}")
    echo(f"  registered {local_time(account['createdAt'])}", "dim")
    for item in cart["items"]:
        price = money(item["price"], currency)
        echo(
            f"  in the cart: {item['quantity']:,} of {item['name'] or item['productId']} at {price}"
        )
    if orders:
        echo("")
        print_orders(orders)
