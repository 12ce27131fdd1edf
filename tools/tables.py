"""Writes the tables and diagrams in the documents that follow from the code.

Each stands between `<!-- table: NAME -->` and `<!-- end -->`; the names are those of `TABLES`. Usage: python -m tools.tables
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from order_service.orders.domain import (
    AcceptCancellation,
    CompleteOrder,
    ConfirmOrder,
    FailOrder,
    FollowUp,
    Order,
    Orders,
    PlaceOrder,
    RefuseCancellation,
    RejectOrder,
    RequestCancellation,
    ShipOrder,
    decide,
    evolve,
    is_final,
)
from order_service.orders.pricing import ListPrice, RequestedItem
from quadrille.launcher.configuration import SERVICES
from shared.chassis.http.auth import admin_only, operators_only, signed_in_only
from shared.chassis.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.contracts import CATALOG
from shared.settings import ShopSettings
from tools.contracts.consumers import contracts_of_the_shop
from tools.openapi_documents import build_applications

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ALIAS = "/api/"


def main() -> None:
    """Write all tables."""
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text("utf-8")), "utf-8")


def with_tables(text: str) -> str:
    """The document with each table as it follows from the code."""
    return BLOCK.sub(lambda block: block[1] + "\n".join(TABLES[block[2]]()) + "\n" + block[3], text)


def events() -> Iterator[str]:
    """Each event of the shop with its publisher and consumers; the read API consumes all."""
    yield from _head("event", "published by", "consumed by", "meaning")
    contracts = contracts_of_the_shop()
    for name, event_type in CATALOG.event_types.items():
        consumers = ", ".join(service for service in contracts.consumers[name] if service != "read")
        publisher = CATALOG.publisher_of(event_type) or "any"
        yield _row(f"`{name}`", publisher, consumers, _summary(event_type.__doc__))


class Route(NamedTuple):
    path: str
    method: str
    access: str
    summary: str


def routes() -> Iterator[str]:
    """Each service's own routes, and those that several have."""
    services: dict[Route, list[str]] = {}
    for service, app in build_applications().items():
        for route in dict.fromkeys(_routes_of(app)):
            services.setdefault(route, []).append(service)
    groups = sorted(dict.fromkeys(map(tuple, services.values())), key=len)
    for group in groups:
        yield from ("", f"**{_title(group)}**", "")
        yield from _head("route", "for", "")
        for route in sorted(route for route, names in services.items() if tuple(names) == group):
            yield _row(f"`{route.method} {route.path}`", route.access, route.summary)


def _title(group: Sequence[str]) -> str:
    if len(group) == len(SERVICES):
        return "Every service"
    ports = {part.name: getattr(ShopSettings(), part.setting) for part in SERVICES}
    return ", ".join(f"{name} `:{ports[name]}`" for name in group)


def _routes_of(app: Litestar) -> Iterator[Route]:
    for route in app.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith(ALIAS):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema():
                    yield from _routes_at(route.path, handler)


def _routes_at(path: str, handler: HTTPRouteHandler) -> Iterator[Route]:
    path = re.sub(r":\w+}", "}", path)
    for method in sorted(handler.http_methods - {"HEAD", "OPTIONS"}):
        yield Route(path, str(method), _access(handler), _summary(_docstring(handler)))


def _docstring(handler: HTTPRouteHandler) -> str | None:
    """Litestar wraps a handler that is not async."""
    return getattr(handler.fn, "func", handler.fn).__doc__


def _access(handler: HTTPRouteHandler) -> str:
    guards = {getattr(guard, "func", guard) for guard in handler.resolve_guards()}
    if admin_only in guards:
        return "admin"
    if operators_only in guards:
        return "operator"
    return "customer" if signed_in_only in guards else "all"


def problems() -> Iterator[str]:
    """Each problem type with its status."""
    yield from _head("`type`", "status")
    rows = {(problem.slug or code, problem.status) for code, problem in PROBLEM_TYPES.items()}
    for slug, status in sorted(rows):
        yield _row(f"`{TYPE_PREFIX}{slug}`", str(status))


def statuses() -> Iterator[str]:
    """The diagram of an order's statuses: what its rules do with every answer of the other services, in any order."""
    created, edges, orders = _new_order(), dict[tuple[str, str], list[str]](), [_new_order()]
    for order in orders:  # it grows
        for cause, command in CAUSES.items():
            after = _after(order, command)
            if after.status is not order.status:
                causes = edges.setdefault((order.status, after.status), [])
                causes.extend({cause} - {*causes})
            if after not in orders:
                orders.append(after)
    yield from ("```mermaid", "stateDiagram-v2", f"    [*] --> {created.status}")
    for (start, end), causes in edges.items():
        yield f"    {start} --> {end}: {', '.join(causes)}"
    for status in dict.fromkeys(order.status for order in orders if is_final(order)):
        yield f"    {status} --> [*]"
    yield "```"


ORDER_ID = "o1"
CAUSES: Mapping[str, FollowUp] = {
    "StockReserved": ConfirmOrder(order_id=ORDER_ID),
    "StockReservationFailed": RejectOrder(order_id=ORDER_ID, failed_items=()),
    "ShipmentDispatched": ShipOrder(order_id=ORDER_ID, carrier="c1"),
    "ShipmentCompleted": CompleteOrder(order_id=ORDER_ID, tracking_number="T1"),
    "ShipmentFailed": FailOrder(order_id=ORDER_ID, reason="LOST"),
    "ShipmentCancelled": AcceptCancellation(order_id=ORDER_ID),
    "ShipmentCancellationRefused": RefuseCancellation(order_id=ORDER_ID, reason="too late"),
    "cancellation": RequestCancellation(order_id=ORDER_ID, reason="CUSTOMER"),
    "deadline": RequestCancellation(order_id=ORDER_ID, reason="EXPIRED"),
}
"""By what leads to the command: an event of another service, a request or a deadline."""


def _new_order() -> Order:
    item = RequestedItem(product_id="p1", quantity=1)
    placed = PlaceOrder(order_id=ORDER_ID, user_id="u1", items=(item,), currency="JPY")
    prices = {"p1": ListPrice(product_id="p1", name="P", price=1, is_deleted=False, position=1)}
    [created] = decide({}, prices, placed)
    return evolve({}, _recorded(created))[ORDER_ID]


def _after(order: Order, command: FollowUp) -> Order:
    orders: Orders = {ORDER_ID: order}
    with suppress(Rejected):
        for event in decide(orders, {}, command):
            orders = evolve(orders, _recorded(event))
    return orders[ORDER_ID]


def _recorded(event: Event) -> RecordedEvent:
    return RecordedEvent(
        event_id="e1",
        source="order",
        position=1,
        event=event,
        recorded_at=datetime.min.replace(tzinfo=UTC),
        correlation_id=ORDER_ID,
    )


TABLES = {"events": events, "statuses": statuses, "routes": routes, "problems": problems}


def _head(*titles: str) -> tuple[str, str]:
    return _row(*titles), "|---" * len(titles) + "|"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _summary(docstring: str | None) -> str:
    """The first sentence."""
    text = " ".join((docstring or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".").replace("|", "\\|")


if __name__ == "__main__":
    main()
