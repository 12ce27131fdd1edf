"""An order or a cart, line by line, and what it comes to."""

from typing import Any

from quadrille.cli.output import console, echo, money, table

COUNT = "  {:>4} ×"  # noqa: RUF001 - the sign for times


def show_order(order: dict[str, Any]) -> None:
    """As the order service answers it."""
    echo(f"Order {order['orderId']} of {order['userId']}: {order['status']}")
    show_bill(order)


def show_bill(bill: dict[str, Any]) -> None:
    """The lines, each at its price; one that costs something else by now is marked."""
    shown = table("quantity", "product", "price", "total", "")
    shown.show_header = False
    currency = bill["currency"]
    for item in bill["items"]:
        shown.add_row(
            COUNT.format(item["quantity"]),
            item.get("name") or item["productId"],
            money(item["price"], currency),
            money(item["price"] * item["quantity"], currency),
            _remark(item, currency),
        )
    shown.add_row("", "", "", money(bill["totalAmount"], currency))
    for column in shown.columns[2:4]:
        column.justify = "right"
    console().print(shown)


def _remark(item: dict[str, Any], currency: str) -> str:
    """Only a cart's line has a present price; null where it is not for sale any more."""
    present = item.get("currentPrice", item["price"])
    if present is None:
        return "not for sale any more"
    return "" if present == item["price"] else f"now {money(present, currency)}"
