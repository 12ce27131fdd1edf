"""Whole histories of the shop, as the real rules write them: one log for each source."""

from contextlib import suppress
from datetime import timedelta

from hypothesis import strategies as st
from msgspec.structs import replace

from inventory_service.domain import ChangeStock, DeleteProduct, Description, UpdateProduct
from order_service.accounts.domain import ChangeEmail, LinkOrder, RegisterCustomer, UpdateCustomer
from order_service.carts.domain import AddToCart, ChangeInCart, CheckOut, RemoveFromCart
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.testing import START
from shared.contracts import NotificationFailed, NotificationSent, NotificationSkipped
from tests.support.carrier_model import OUTCOMES
from tests.support.history import recorded
from tests.support.in_memory_shop import PRICE, InMemoryShop

PRODUCTS = ("prod001", "prod002")
MAILS = (
    NotificationSkipped(notification_id="n1", order_id="o1", template="confirmation"),
    NotificationFailed(
        notification_id="n2", order_id="o1", template="sent", recipient="j***@x", error="refused"
    ),
    NotificationSent(notification_id="n2", order_id="o1", template="sent", recipient="j***@x"),
)

ACCOUNTS = (
    RegisterCustomer(user_id="u1", email="u1@example.com", locale="ja"),
    RegisterCustomer(user_id="u2", email="u2@example.com"),
    UpdateCustomer(user_id="u1", name="花子"),
    ChangeEmail(
        user_id="u2",
        token_version=0,
        email="other@example.com",
        verification=LinkOrder(request_id="r1", expires_at=START + timedelta(days=1)),
    ),
    AddToCart(user_id="u1", product_id="prod001", quantity=2),
    ChangeInCart(user_id="u1", product_id="prod001", quantity=1),
    RemoveFromCart(user_id="u1", product_id="prod001"),
    CheckOut(user_id="u1", order_id="of-cart", currency="JPY"),
)
CATALOGUE = (
    UpdateProduct(
        product_id="prod001",
        description=Description(
            name="静音キーボード", description="", price=PRICE, category="入力"
        ),
    ),
    ChangeStock(product_id="prod002", quantity=2),
    DeleteProduct(product_id="prod002"),
)
COMMANDS = (*ACCOUNTS, *CATALOGUE)

STEPS = (
    *("one event", "everything", "cancel", "expire", "booked"),
    *("overdue", "settled", "carrier"),
)

Log = list[RecordedEvent]


def log_of(source: str, *events: Event) -> Log:
    """These events as the source's log would hold them."""
    return [
        recorded(event, source=source, position=position)
        for position, event in enumerate(events, start=1)
    ]


@st.composite
def in_memory_shops(draw: st.DrawFn) -> InMemoryShop:
    """A few orders, cancelled, expired, delivered and failed at any moment."""
    shop = InMemoryShop({name: draw(st.integers(0, 4)) for name in PRODUCTS})
    for number in range(draw(st.integers(1, 3))):
        order_id = f"o{number + 1}"
        shop.place(order_id, [(draw(st.sampled_from(PRODUCTS)), draw(st.integers(1, 3)))])
        for _ in range(draw(st.integers(0, 4))):
            _random_step(draw, shop, order_id)
    _change_accounts_and_catalogue(draw, shop)
    shop.deliver_all()
    return shop


def logs_of(shop: InMemoryShop) -> dict[str, Log]:
    """The log of each source, the notifier's too."""
    logs = {service.source: list(service.log) for service in shop.services}
    return logs | {"notifier": log_of("notifier", *MAILS)}


@st.composite
def deliveries(draw: st.DrawFn, logs: dict[str, Log]) -> list[Log]:
    """All events in any order, some of them twice, in batches of any size."""
    events = [event for log in logs.values() for event in log]
    again = draw(st.lists(st.sampled_from(events), max_size=5))
    left = draw(st.permutations([*events, *again]))
    batches = []
    while left:
        size = draw(st.integers(1, len(left)))
        batches.append(left[:size])
        left = left[size:]
    return batches


def caused(event: RecordedEvent, by: RecordedEvent, *, after_seconds: float) -> RecordedEvent:
    """The event as an effect of another."""
    return replace(
        event,
        causation_id=by.event_id,
        correlation_id=by.correlation_id,
        recorded_at=by.recorded_at + timedelta(seconds=after_seconds),
    )


def _change_accounts_and_catalogue(draw: st.DrawFn, shop: InMemoryShop) -> None:
    """Customers sign up and fill carts, and the catalogue changes under the orders."""
    for command in draw(st.lists(st.sampled_from(COMMANDS), max_size=3)):
        service = shop.order if command in ACCOUNTS else shop.inventory
        with suppress(Rejected):
            shop._send(service.execute(command))


def _random_step(draw: st.DrawFn, shop: InMemoryShop, order_id: str) -> None:
    is_initiated = order_id in shop.initiated()
    match draw(st.sampled_from(STEPS)):
        case "one event" if services := [service for service in shop.services if service.pending]:
            service = draw(st.sampled_from(services))
            shop.deliver(service, draw(st.integers(0, len(service.pending) - 1)))
        case "everything":
            shop.deliver_all()
        case "cancel":
            shop.cancel(order_id)
        case "expire":
            shop.expire(order_id)
        case "overdue":
            shop.pass_deadlines()
        case "booked" if is_initiated:
            shop.confirm_booking(order_id)
        case "settled" if order_id in shop.dispatched():
            shop.settle(order_id, draw(st.sampled_from(OUTCOMES)))
        case "carrier" if is_initiated:
            shop.answer_booking(order_id, delivered=draw(st.booleans()))
