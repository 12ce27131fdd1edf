import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from inventory_service.domain import (
    ChangeStock,
    Command,
    CreateProduct,
    DeductStock,
    DeleteProduct,
    Description,
    InventoryState,
    ReleaseStock,
    ReservationStatus,
    ReserveStock,
    RestoreProduct,
    UpdateProduct,
    decide,
    evolve,
    merged,
)
from shared.chassis.messages.event import Event
from shared.chassis.messages.rejection import Rejected
from shared.contracts import (
    FailedItem,
    LineItem,
    ProductCreated,
    ProductDeleted,
    ProductRestored,
    ProductUpdated,
    ShipmentCancelled,
    ShipmentFailed,
    StockAdded,
    StockAdjusted,
    StockDeducted,
    StockReleased,
    StockReservationFailed,
    StockReserved,
    StockWrittenOff,
)
from tests.support.history import fold, recorded

DESCRIBED = Description(name="Super Keyboard", description="Clicks", price=5000)


def created(product_id: str) -> ProductCreated:
    return ProductCreated(
        product_id=product_id, name="Super Keyboard", description="Clicks", price=5000
    )


def added(product_id: str, quantity: int) -> StockAdded:
    return StockAdded(product_id=product_id, quantity=quantity)


def line(product_id: str, quantity: int) -> LineItem:
    return LineItem(product_id=product_id, quantity=quantity)


def reserve(*items: LineItem, order_id: str = "o1") -> ReserveStock:
    return ReserveStock(order_id=order_id, items=items)


TEN_OF_1 = (created("prod001"), added("prod001", 10))
FIVE_OF_2 = (created("prod002"), added("prod002", 5))
RESERVED = StockReserved(order_id="o1", items=(line("prod001", 4),))
RELEASED = StockReleased(order_id="o1", items=(line("prod001", 4),), reason="CUSTOMER")
DEDUCTED = StockDeducted(order_id="o1", items=(line("prod001", 4),))
WRITTEN_OFF = StockWrittenOff(order_id="o1", items=(line("prod001", 4),), reason="LOST")
REFUSED = StockReservationFailed(order_id="o1", reason="INSUFFICIENT_STOCK", failed_items=())
SHIPMENT_CANCELLED = ShipmentCancelled(order_id="o1", reason="CUSTOMER")
SHIPMENT_FAILED = ShipmentFailed(shipment_id="s1", order_id="o1", reason="x", items=())

RELEASE = ReleaseStock(order_id="o1", reason="CUSTOMER")
DEDUCT = DeductStock(order_id="o1")
LOSE = ReleaseStock(order_id="o1", reason="LOST")


def after(*events: Event) -> InventoryState:
    return fold(evolve, InventoryState(), *events)


def counts(stock: InventoryState, product_id: str = "prod001") -> tuple[int, int]:
    """On hand, reserved."""
    return stock.products[product_id].on_hand, stock.products[product_id].reserved


def refusal(stock: InventoryState, command: Command) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decide(stock, command)
    return caught.value


def test_all_lines_are_reserved_when_available():
    stock = after(*TEN_OF_1, *FIVE_OF_2)
    (reserved,) = decide(stock, reserve(line("prod001", 10), line("prod002", 5)))
    assert reserved == StockReserved(order_id="o1", items=(line("prod001", 10), line("prod002", 5)))
    stock = fold(evolve, stock, reserved)
    assert (counts(stock), counts(stock, "prod002")) == ((10, 10), (5, 5))


def test_one_short_line_prevents_the_reservation():
    stock = after(*TEN_OF_1, *FIVE_OF_2)
    (failed,) = decide(stock, reserve(line("prod001", 1), line("prod002", 6)))
    assert failed == StockReservationFailed(
        order_id="o1",
        reason="INSUFFICIENT_STOCK",
        failed_items=(
            FailedItem(product_id="prod002", requested_quantity=6, available_quantity=5),
        ),
    )
    stock = fold(evolve, stock, failed)
    assert (counts(stock), counts(stock, "prod002")) == ((10, 0), (5, 0))
    assert stock.reservations["o1"].items == ()


def test_every_short_line_is_named():
    (failed,) = decide(after(*TEN_OF_1), reserve(line("prod001", 11), line("prod009", 1)))
    assert [item.product_id for item in failed.failed_items] == ["prod001", "prod009"]


def test_lines_of_one_product_are_merged_first():
    stock = after(*TEN_OF_1)
    (failed,) = decide(stock, reserve(line("prod001", 6), line("prod001", 5)))
    assert failed.failed_items == (
        FailedItem(product_id="prod001", requested_quantity=11, available_quantity=10),
    )
    (reserved,) = decide(stock, reserve(line("prod001", 6), line("prod001", 4)))
    assert reserved.items == (line("prod001", 10),)


def test_reserved_stock_is_not_available_to_others():
    stock = after(*TEN_OF_1, RESERVED)
    (failed,) = decide(stock, reserve(line("prod001", 7), order_id="o2"))
    assert failed.failed_items[0].available_quantity == 6


@pytest.mark.parametrize(
    "history", [(), (*TEN_OF_1, ProductDeleted(product_id="prod001"))], ids=["unknown", "deleted"]
)
def test_unsold_product_has_no_available_stock(history: tuple[Event, ...]):
    (failed,) = decide(after(*history), reserve(line("prod001", 1)))
    assert failed.failed_items[0].available_quantity == 0


@pytest.mark.parametrize("settled", [None, RELEASED, DEDUCTED, WRITTEN_OFF])
def test_redelivered_order_reserves_once(settled: Event | None):
    stock = after(*TEN_OF_1, RESERVED, *([settled] if settled else []))
    assert decide(stock, reserve(line("prod001", 4))) == []


def test_refused_order_stays_refused_after_restocking():
    assert decide(after(*TEN_OF_1, REFUSED), reserve(line("prod001", 4))) == []


@pytest.mark.parametrize("closing", [SHIPMENT_CANCELLED, SHIPMENT_FAILED])
def test_order_closed_by_shipping_is_refused(closing: Event):
    (refused,) = decide(after(*TEN_OF_1, closing), reserve(line("prod001", 4)))
    assert refused == StockReservationFailed(order_id="o1", reason="ORDER_CLOSED", failed_items=())


def test_completed_shipment_deducts_reserved_stock():
    stock = after(*TEN_OF_1, RESERVED)
    assert decide(stock, DEDUCT) == [DEDUCTED]
    assert counts(fold(evolve, stock, DEDUCTED)) == (6, 0)


def test_failed_shipment_releases_stock():
    stock = after(*TEN_OF_1, RESERVED)
    assert decide(stock, RELEASE) == [RELEASED]
    assert counts(fold(evolve, stock, RELEASED)) == (10, 0)


@pytest.mark.parametrize("reason", ["LOST", "RETURNED"])
def test_only_lost_stock_is_written_off(reason: str):
    stock = after(*TEN_OF_1, RESERVED)
    [settled] = decide(stock, ReleaseStock(order_id="o1", reason=reason))
    assert isinstance(settled, StockWrittenOff if reason == "LOST" else StockReleased)
    ended = fold(evolve, stock, settled)
    assert counts(ended) == ((6, 0) if reason == "LOST" else (10, 0))


@pytest.mark.parametrize("settled", [RELEASED, DEDUCTED, WRITTEN_OFF])
@pytest.mark.parametrize("again", [RELEASE, DEDUCT, LOSE])
def test_reservation_is_released_or_deducted_once(settled: Event, again: Command):
    assert decide(after(*TEN_OF_1, RESERVED, settled), again) == []


@pytest.mark.parametrize("again", [RELEASE, DEDUCT, LOSE])
def test_refused_order_releases_and_deducts_nothing(again: Command):
    assert decide(after(REFUSED), again) == []


def test_unknown_order_releases_nothing():
    assert decide(InventoryState(), RELEASE) == []


def test_deduction_without_reservation_raises():
    with pytest.raises(KeyError):
        decide(after(*TEN_OF_1), DEDUCT)


def test_released_reservation_keeps_its_items():
    reservation = after(*TEN_OF_1, RESERVED, RELEASED).reservations["o1"]
    assert (reservation.status, reservation.items) == (ReservationStatus.RELEASED, RESERVED.items)


def test_deleted_product_is_still_deducted():
    stock = after(*TEN_OF_1, RESERVED, ProductDeleted(product_id="prod001"))
    assert decide(stock, DEDUCT) == [DEDUCTED]


def test_product_is_created_with_initial_stock():
    command = CreateProduct(product_id="prod001", description=DESCRIBED, stock=10)
    first = StockAdded(product_id="prod001", quantity=10, reason="INITIAL")
    assert decide(InventoryState(), command) == [created("prod001"), first]


def test_product_without_initial_stock_has_none():
    command = CreateProduct(product_id="prod001", description=DESCRIBED, stock=0)
    assert decide(InventoryState(), command) == [created("prod001")]


@pytest.mark.parametrize("history", [TEN_OF_1, (*TEN_OF_1, ProductDeleted(product_id="prod001"))])
def test_product_id_is_used_once(history: tuple[Event, ...]):
    command = CreateProduct(product_id="prod001", description=DESCRIBED, stock=1)
    refused = refusal(after(*history), command)
    assert refused.code == "product-exists"


@pytest.mark.parametrize("history", [(), (*TEN_OF_1, ProductDeleted(product_id="prod001"))])
@pytest.mark.parametrize(
    "command",
    [
        UpdateProduct(product_id="prod001", description=DESCRIBED),
        DeleteProduct(product_id="prod001"),
        ChangeStock(product_id="prod001", quantity=1),
    ],
)
def test_missing_product_cannot_be_changed(history: tuple[Event, ...], command: Command):
    refused = refusal(after(*history), command)
    assert refused.code == "unknown-product"


def test_restored_product_is_as_before():
    stock = after(*TEN_OF_1, RESERVED)
    deleted = after(*TEN_OF_1, RESERVED, ProductDeleted(product_id="prod001"))
    restore = RestoreProduct(product_id="prod001")
    (restored,) = decide(deleted, restore)
    assert isinstance(restored, ProductRestored)
    state = evolve(deleted, recorded(restored))
    before, product = stock.products["prod001"], state.products["prod001"]
    times = {"created_at": before.created_at, "updated_at": before.updated_at}
    assert replace(product, **times) == before
    assert decide(state, restore) == []
    assert refusal(InventoryState(), restore).code == "unknown-product"


def test_product_update_replaces_its_description():
    command = UpdateProduct(
        product_id="prod001", description=Description(name="K", description="", price=1)
    )
    (updated,) = decide(after(*TEN_OF_1), command)
    assert updated == ProductUpdated(product_id="prod001", name="K", description="", price=1)
    product = after(*TEN_OF_1, updated).products["prod001"]
    assert (product.name, product.price, product.on_hand) == ("K", 1, 10)


def test_stock_adjustment_down_to_reserved_is_accepted():
    stock = after(*TEN_OF_1, RESERVED)
    (adjusted,) = decide(stock, ChangeStock(product_id="prod001", quantity=-6, reason="broken"))
    assert adjusted == StockAdjusted(product_id="prod001", quantity=-6, reason="broken")
    assert counts(fold(evolve, stock, adjusted)) == (4, 4)


def test_stock_adjustment_below_reserved_is_rejected():
    refused = refusal(after(*TEN_OF_1, RESERVED), ChangeStock(product_id="prod001", quantity=-7))
    assert refused.code == "stock-reserved"
    assert refused.extra == {"onHand": 10, "reserved": 4}


def test_stock_change_by_zero_is_rejected():
    refused = refusal(after(*TEN_OF_1), ChangeStock(product_id="prod001", quantity=0))
    assert refused.code == "nothing-to-change"


@pytest.mark.parametrize("stock", [0, 2_000_000])
def test_merged_lines_may_exceed_the_line_limit(stock: int):
    million = line("prod001", 1_000_000)
    history = [created("prod001"), *[added("prod001", 1_000_000)] * (stock // 1_000_000)]
    (event,) = decide(after(*history), reserve(million, million))
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


PRODUCTS = st.sampled_from(["prod001", "prod002", "prod003"])
ORDERS = st.sampled_from(["o1", "o2", "o3"])
QUANTITIES = st.integers(1, 6) | st.just(1_000_000)
LINES = st.builds(LineItem, product_id=PRODUCTS, quantity=QUANTITIES)
COMMANDS = st.one_of(
    st.builds(
        CreateProduct,
        product_id=PRODUCTS,
        description=st.just(DESCRIBED),
        stock=st.just(0) | QUANTITIES,
    ),
    st.builds(UpdateProduct, product_id=PRODUCTS, description=st.just(DESCRIBED)),
    st.builds(DeleteProduct, product_id=PRODUCTS),
    st.builds(ChangeStock, product_id=PRODUCTS, quantity=st.integers(-9, 9) | QUANTITIES),
    st.builds(
        ReserveStock, order_id=ORDERS, items=st.lists(LINES, min_size=1, max_size=4).map(tuple)
    ),
    st.builds(DeductStock, order_id=ORDERS),
    st.builds(ReleaseStock, order_id=ORDERS, reason=st.sampled_from(["CUSTOMER", "LOST"])),
)


def executed(commands: list[Command]) -> tuple[InventoryState, list[Event]]:
    """State and log after these commands; refused ones leave no trace."""
    stock, log = after(*TEN_OF_1, *FIVE_OF_2), [*TEN_OF_1, *FIVE_OF_2]
    for command in commands:
        if isinstance(command, DeductStock) and command.order_id not in stock.reservations:
            continue
        try:
            events = decide(stock, command)
        except Rejected:
            continue
        stock, log = fold(evolve, stock, *events), [*log, *events]
        for product in stock.products.values():
            assert 0 <= product.reserved <= product.on_hand
    return stock, log


@given(st.lists(COMMANDS, max_size=40))
def test_stock_is_conserved_by_any_commands(commands: list[Command]):
    stock, log = executed(commands)
    for product_id, product in stock.products.items():
        came_in = _sum(log, (StockAdded, StockAdjusted), product_id)
        left = sum(
            _sum_of_lines(log, event_type, product_id)
            for event_type in (StockDeducted, StockWrittenOff)
        )
        reserved = sum(
            item.quantity
            for reservation in stock.reservations.values()
            if reservation.status is ReservationStatus.RESERVED
            for item in reservation.items
            if item.product_id == product_id
        )
        assert product.on_hand + left == came_in
        assert product.reserved == reserved


@given(st.lists(COMMANDS, max_size=40))
def test_order_is_settled_at_most_once(commands: list[Command]):
    _, log = executed(commands)
    for order_id in ("o1", "o2", "o3"):
        types = [type(event) for event in log if getattr(event, "order_id", None) == order_id]
        assert types in (
            [],
            [StockReservationFailed],
            [StockReserved],
            [StockReserved, StockDeducted],
            [StockReserved, StockReleased],
            [StockReserved, StockWrittenOff],
        )


@given(st.lists(COMMANDS, max_size=40))
def test_reservation_is_complete_or_empty(commands: list[Command]):
    ordered = {}
    for command in commands:
        if isinstance(command, ReserveStock):
            ordered.setdefault(command.order_id, merged(command.items))
    stock, _ = executed(commands)
    for order_id, reservation in stock.reservations.items():
        assert reservation.items in ((), ordered[order_id])
        assert (reservation.items == ()) == (reservation.status is ReservationStatus.REFUSED)


@given(st.lists(COMMANDS, max_size=40))
def test_recorded_events_round_trip(commands: list[Command]):
    _, log = executed(commands)
    for event in log:
        assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


def _sum(log: list[Event], kinds: tuple[type[Event], ...], product_id: str) -> int:
    return sum(
        event.quantity
        for event in log
        if isinstance(event, kinds) and event.product_id == product_id
    )


def _sum_of_lines(log: list[Event], kind: type[Event], product_id: str) -> int:
    return sum(
        item.quantity
        for event in log
        if isinstance(event, kind)
        for item in event.items
        if item.product_id == product_id
    )
