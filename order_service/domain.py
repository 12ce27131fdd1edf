"""The rules of the order service: orders, list prices, carts and customers."""

from msgspec import Struct
from msgspec.structs import replace

from order_service.accounts import domain as customers
from order_service.accounts import key_events as keys
from order_service.accounts.domain import Customers
from order_service.addresses import domain as addresses
from order_service.addresses.domain import AddressBooks, book_address
from order_service.carts import domain as carts
from order_service.carts.domain import Carts, CheckOut
from order_service.orders import domain as orders
from order_service.orders import pricing as prices
from order_service.orders.domain import Orders, PlaceOrder
from order_service.orders.limits import NO_LIMITS, OrderLimits
from order_service.orders.pricing import Prices
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent


class OrderState(Struct, frozen=True, kw_only=True):
    """The part of the service's state that a transaction touches."""

    orders: Orders = {}
    prices: Prices = {}
    carts: Carts = {}
    customers: Customers = {}
    address_books: AddressBooks = {}


Command = orders.Command | carts.Command | customers.Command | addresses.Command | keys.Command


def decide(state: OrderState, command: Command, limits: OrderLimits = NO_LIMITS) -> list[Event]:
    """The events that the command leads to; raises Rejected as the rules of each slice do."""
    if isinstance(command, PlaceOrder | CheckOut) and command.book_address:
        address = book_address(state.address_books, command.book_address)
        command = replace(command, shipping_address=address)
    if isinstance(command, orders.Command):
        return orders.decide(state.orders, state.prices, command, limits)
    if isinstance(command, carts.Command):
        return carts.decide(state.carts, state.orders, state.prices, command, limits)
    if isinstance(command, customers.Command):
        return customers.decide(state.customers, command)
    if isinstance(command, addresses.Command):
        return addresses.decide(state.address_books, command)
    return keys.decide(command)


def evolve(state: OrderState, recorded: RecordedEvent) -> OrderState:
    """The state after an event of the order service, or of inventory about a product."""
    return replace(
        state,
        orders=orders.evolve(state.orders, recorded),
        prices=prices.evolve(state.prices, recorded),
        carts=carts.evolve(state.carts, recorded),
        customers=customers.evolve(state.customers, recorded),
        address_books=addresses.evolve(state.address_books, recorded),
    )
