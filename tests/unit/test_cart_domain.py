"""Carts, and the checkout, which creates the order and clears the cart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.carts.domain import (
    AddToCart,
    CartLine,
    ChangeInCart,
    CheckOut,
    ClearCart,
    RemoveFromCart,
)
from order_service.domain import Command, OrderState, decide, evolve
from order_service.orders.limits import OrderLimits
from shared.chassis.messages.event import Event
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    CartCleared,
    ItemAddedToCart,
    ItemRemovedFromCart,
    OrderCreated,
    OrderItem,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
)
from shared.contracts.order import OrderStatus
from shared.contracts.types import MAX_LINES, MAX_UNITS
from tests.support.history import fold

KEYBOARD = ProductCreated(product_id="prod001", name="Super Keyboard", description="", price=5000)
MOUSE = ProductCreated(product_id="prod002", name="Ergonomic Mouse", description="", price=3000)
DEARER = ProductUpdated(product_id="prod001", name="Super Keyboard", description="", price=6000)
GONE = ProductDeleted(product_id="prod001")
CHECK_OUT = CheckOut(user_id="aiko", order_id="o1", currency="JPY")
SALE = (KEYBOARD, MOUSE)


def after(*events: Event) -> OrderState:
    return fold(evolve, OrderState(), *events)


def added(product_id: str, quantity: int, price: int) -> ItemAddedToCart:
    return ItemAddedToCart(user_id="aiko", product_id=product_id, quantity=quantity, price=price)


def removed(product_id: str, quantity: int, price: int) -> ItemRemovedFromCart:
    return ItemRemovedFromCart(
        user_id="aiko", product_id=product_id, quantity=quantity, price=price
    )


def add(product_id: str, quantity: int, user_id: str = "aiko") -> AddToCart:
    return AddToCart(user_id=user_id, product_id=product_id, quantity=quantity)


def change(product_id: str, quantity: int) -> ChangeInCart:
    return ChangeInCart(user_id="aiko", product_id=product_id, quantity=quantity)


def refusal(state: OrderState, command: Command) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decide(state, command)
    return caught.value


def lines(state: OrderState, user_id: str = "aiko") -> list[tuple[str, int, int]]:
    cart = state.carts.get(user_id)
    return [(line.product_id, line.quantity, line.price) for line in cart.lines] if cart else []


def test_product_is_added_at_list_price():
    assert decide(after(*SALE), add("prod001", 2)) == [added("prod001", 2, 5000)]


def test_adding_again_extends_line_at_current_price():
    state = after(*SALE, added("prod001", 2, 5000), added("prod002", 1, 3000), DEARER)
    state = fold(evolve, state, *decide(state, add("prod001", 1)))
    assert lines(state) == [("prod001", 3, 6000), ("prod002", 1, 3000)]


@pytest.mark.parametrize("history", [(), (KEYBOARD, GONE)], ids=["unknown", "deleted"])
def test_unsold_product_cannot_be_added(history: tuple[Event, ...]):
    refused = refusal(after(*history), add("prod001", 1))
    assert refused.code == "product-not-for-sale"


def test_cart_limits_number_of_products():
    products = [
        ProductCreated(product_id=f"p{number}", name="", description="", price=1)
        for number in range(MAX_LINES + 1)
    ]
    contents = [added(product.product_id, 1, 1) for product in products[:MAX_LINES]]
    state = after(*products, *contents)
    assert refusal(state, add(f"p{MAX_LINES}", 1)).code == "cart-full"
    assert decide(state, add("p0", 1)) == [added("p0", 1, 1)]


def test_cart_limits_quantity_of_one_product():
    state = after(*SALE, added("prod001", MAX_UNITS, 5000))
    assert refusal(state, add("prod001", 1)).code == "cart-full"


def test_cart_keeps_to_the_shops_limits():
    limits = OrderLimits(lines=1, units=3)
    state = after(*SALE, added("prod001", 2, 5000))
    assert decide(state, add("prod001", 1), limits) == [added("prod001", 1, 5000)]
    for command in (
        add("prod001", 2),
        add("prod002", 1),
        ChangeInCart(user_id="aiko", product_id="prod001", quantity=4),
    ):
        with pytest.raises(Rejected) as refused:
            decide(state, command, limits)
        assert refused.value.code == "cart-full"


def test_checkout_keeps_to_the_shops_limits():
    state = after(*SALE, added("prod001", 2, 5000))
    with pytest.raises(Rejected) as refused:
        decide(state, CHECK_OUT, OrderLimits(units=1))
    assert refused.value.code == "order-too-large"


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (5, [added("prod001", 3, 5000)]),
        (1, [removed("prod001", 1, 5000)]),
        (2, []),
    ],
)
def test_changed_quantity_records_the_difference(quantity: int, expected: list[Event]):
    state = after(*SALE, added("prod001", 2, 5000))
    assert decide(state, change("prod001", quantity)) == expected


@pytest.mark.parametrize("quantity", [1, 2, 5])
def test_changed_quantity_takes_current_price(quantity: int):
    state = after(*SALE, added("prod001", 2, 5000), DEARER)
    state = fold(evolve, state, *decide(state, change("prod001", quantity)))
    assert lines(state) == [("prod001", quantity, 6000)]


@pytest.mark.parametrize("quantity", [1, 5])
def test_changed_line_keeps_its_place(quantity: int):
    state = after(*SALE, added("prod001", 2, 5000), added("prod002", 1, 3000))
    state = fold(evolve, state, *decide(state, change("prod001", quantity)))
    assert [product_id for product_id, _, _ in lines(state)] == ["prod001", "prod002"]


@pytest.mark.parametrize(
    "command", [change("prod001", 1), RemoveFromCart(user_id="aiko", product_id="prod001")]
)
def test_product_missing_from_cart_cannot_be_changed(command: Command):
    refused = refusal(after(*SALE), command)
    assert refused.code == "not-in-cart"


def test_deleted_product_can_be_removed_not_changed():
    state = after(*SALE, added("prod001", 2, 5000), GONE)
    assert refusal(state, change("prod001", 1)).code == "product-not-for-sale"
    out = decide(state, RemoveFromCart(user_id="aiko", product_id="prod001"))
    assert out == [removed("prod001", 2, 5000)]
    assert lines(fold(evolve, state, *out)) == []


def test_clearing_an_empty_cart_records_nothing():
    assert decide(after(*SALE), ClearCart(user_id="aiko")) == []
    state = after(*SALE, added("prod001", 1, 5000))
    assert decide(state, ClearCart(user_id="aiko")) == [CartCleared(user_id="aiko")]


def test_cart_belongs_to_one_customer():
    state = after(*SALE, added("prod001", 1, 5000))
    state = fold(evolve, state, *decide(state, add("prod002", 1, user_id="ben")))
    state = fold(evolve, state, *decide(state, ClearCart(user_id="ben")))
    assert lines(state) == [("prod001", 1, 5000)]
    assert lines(state, "ben") == []


def test_checkout_orders_lines_and_clears_cart():
    state = after(*SALE, added("prod001", 2, 5000), added("prod002", 1, 3000))
    created, cleared = decide(state, CHECK_OUT)
    assert created == OrderCreated(
        order_id="o1",
        status=OrderStatus.PENDING,
        user_id="aiko",
        items=(
            OrderItem(product_id="prod001", name="Super Keyboard", quantity=2, price=5000),
            OrderItem(product_id="prod002", name="Ergonomic Mouse", quantity=1, price=3000),
        ),
        total_amount=13_000,
        currency="JPY",
    )
    assert cleared == CartCleared(user_id="aiko", order_id="o1")


def test_checkout_of_empty_cart_is_rejected():
    refused = refusal(after(*SALE), CHECK_OUT)
    assert refused.code == "cart-empty"


def test_checkout_names_changed_price():
    refused = refusal(after(*SALE, added("prod001", 1, 5000), DEARER), CHECK_OUT)
    assert refused.code == "price-changed"
    assert refused.extra == {"productId": "prod001", "price": 6000}


def test_checkout_names_deleted_product():
    refused = refusal(after(*SALE, added("prod001", 1, 5000), GONE), CHECK_OUT)
    assert refused.code == "product-not-for-sale"
    assert refused.extra == {"productId": "prod001"}


def test_repeated_checkout_is_rejected_as_empty():
    state = after(*SALE, added("prod001", 1, 5000))
    state = fold(evolve, state, *decide(state, CHECK_OUT))
    assert refusal(state, CHECK_OUT).code == "cart-empty"


def test_checkout_succeeds_after_accepting_current_price():
    state = after(*SALE, added("prod001", 1, 5000), DEARER)
    state = fold(evolve, state, *decide(state, change("prod001", 1)))
    created, _ = decide(state, CHECK_OUT)
    assert created.total_amount == 6000


PRODUCTS = st.sampled_from(["prod001", "prod002", "prod003"])
OWNERS = st.sampled_from(["aiko", "ben"])
STEPS = st.one_of(
    st.builds(AddToCart, user_id=OWNERS, product_id=PRODUCTS, quantity=st.integers(1, 5)),
    st.builds(ChangeInCart, user_id=OWNERS, product_id=PRODUCTS, quantity=st.integers(1, 5)),
    st.builds(RemoveFromCart, user_id=OWNERS, product_id=PRODUCTS),
    st.builds(ClearCart, user_id=OWNERS),
    st.builds(
        CheckOut,
        user_id=OWNERS,
        order_id=st.uuids().map(str),
        currency=st.just("JPY"),
    ),
    st.builds(
        ProductUpdated,
        product_id=PRODUCTS,
        name=st.just("Thing"),
        description=st.just(""),
        price=st.integers(1, 3),
    ),
    st.builds(ProductDeleted, product_id=PRODUCTS),
)


class CartModel:
    """A reference model of two carts."""

    def __init__(self) -> None:
        self.prices: dict[str, int] = {}
        self.carts: dict[str, dict[str, CartLine]] = {"aiko": {}, "ben": {}}

    def apply(self, step: Any) -> None:
        match step:
            case ProductUpdated(product_id=product_id, price=price):
                self.prices[product_id] = price
            case ProductDeleted(product_id=product_id):
                self.prices.pop(product_id, None)
            case AddToCart(user_id=user_id, product_id=product_id, quantity=quantity):
                line = self.carts[user_id].get(product_id)
                self._put(user_id, product_id, quantity + (line.quantity if line else 0))
            case ChangeInCart(user_id=user_id, product_id=product_id, quantity=quantity):
                self._put(user_id, product_id, quantity)
            case RemoveFromCart(user_id=user_id, product_id=product_id):
                del self.carts[user_id][product_id]
            case ClearCart(user_id=user_id) | CheckOut(user_id=user_id):
                self.carts[user_id].clear()

    def _put(self, user_id: str, product_id: str, quantity: int) -> None:
        price = self.prices[product_id]
        line = CartLine(product_id=product_id, quantity=quantity, price=price)
        self.carts[user_id][product_id] = line


@given(st.lists(STEPS, max_size=40))
def test_carts_match_reference_model(steps: list[Any]):
    state, model, log = OrderState(), CartModel(), list[Event]()
    for step in steps:
        if isinstance(step, Event):
            events = [step]
        else:
            try:
                events = decide(state, step)
            except Rejected:
                continue
        model.apply(step)
        state, log = fold(evolve, state, *events), [*log, *events]
        ordered = [event for event in events if isinstance(event, OrderCreated)]
        emptied = [event for event in events if isinstance(event, CartCleared) and event.order_id]
        assert [order.order_id for order in ordered] == [cleared.order_id for cleared in emptied]
        assert all(order.items for order in ordered)
    for owner, expected in model.carts.items():
        lines = state.carts[owner].lines if owner in state.carts else ()
        assert {line.product_id: line for line in lines} == expected
    assert fold(evolve, OrderState(), *log).carts == state.carts


@given(st.lists(STEPS, max_size=40))
def test_rejected_checkout_changes_nothing(steps: list[Any]):
    state = OrderState()
    for step in steps:
        try:
            events = [step] if isinstance(step, Event) else decide(state, step)
        except Rejected:
            continue
        state = fold(evolve, state, *events)
    for owner, cart in state.carts.items():
        check_out = CheckOut(user_id=owner, order_id="o1", currency="JPY")
        stale = any(
            price is None or price.is_deleted or price.price != line.price
            for line in cart.lines
            for price in [state.prices.get(line.product_id)]
        )
        if stale:
            assert refusal(state, check_out).code in {"price-changed", "product-not-for-sale"}
        else:
            created, cleared = decide(state, check_out)
            assert isinstance(created, OrderCreated)
            assert cleared == CartCleared(user_id=owner, order_id="o1")
