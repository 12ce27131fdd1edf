"""`quadrille mail`: lists the shop's mails and their outcomes, and sends one again."""

from datetime import datetime

import click
from rich.text import Text

from quadrille.cli.api_client import Client
from quadrille.cli.order_ids import find_order_id
from quadrille.cli.params import json_lines_option, json_option
from quadrille.endpoints import Json, load_settings, segment
from quadrille.output import MAX_LIMIT, age, console, echo, echo_json, echo_page, is_wide, table
from shared.order_number import order_number

STYLES = {"SENT": "green", "FAILED": "red", "PENDING": "yellow"}


@click.group()
def mail() -> None:
    """\b
    For example:
      quadrille mail list --status failed
      quadrille mail list --order 7K3F-92QM
      quadrille mail resend NOTIFICATION_ID

    Only for the admin: quadrille login admin@example.com
    """


@mail.command("list")
@click.option("--order", help="Only the mails about this order.")
@click.option(
    "--status",
    type=click.Choice(["SENT", "FAILED", "SKIPPED", "PENDING"], case_sensitive=False),
    help="Only mails with this outcome; PENDING is sent again at present.",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True)
@json_lines_option
def list_mails(order: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """List mails, newest first."""
    client = Client(load_settings())
    order_id = find_order_id(client, order) if order else None
    query = {"orderId": order_id, "status": status, "limit": limit}
    page = client.get("notifier", "/notifications", **query)
    echo_page(page, _print, "No mails.", as_json=as_json)


@mail.command()
@click.argument("notification_id", metavar="NOTIFICATION_ID")
@json_option
def resend(notification_id: str, *, as_json: bool) -> None:
    """Send a mail again, to the order's current recipient."""
    path = f"/notifications/{segment(notification_id)}/resend"
    resent = Client(load_settings()).post("notifier", path, {})
    if as_json:
        echo_json(resent)
    else:
        number = order_number(resent["orderId"])
        echo(f"Sending the mail {resent['template']} of order {number} again.")


def _print(mails: list[Json]) -> None:
    grid = table(
        "notification",
        "order",
        "mail",
        "status",
        "age",
        *(["recipient", "error"] if is_wide() else []),
    )
    for notification in mails:
        status = notification["status"]
        details = (
            [
                notification["recipient"] or "",
                notification["error"] or notification["skipReason"] or "",
            ]
            if is_wide()
            else []
        )
        grid.add_row(
            notification["notificationId"],
            order_number(notification["orderId"]),
            notification["template"],
            Text(status, STYLES.get(status, "")),
            age(datetime.fromisoformat(notification["createdAt"])),
            *details,
        )
    console().print(grid)
