"""What HTTP accepts at its bounds is recorded so that every consumer can decode it, or rejected."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

import inventory_service.api as inventory
from inventory_service.domain import CreateProduct, InventoryState
from order_service.accounts import api as accounts
from order_service.accounts.domain import RegisterCustomer
from order_service.app import logic
from order_service.domain import OrderState
from order_service.orders import api as orders
from order_service.orders.pricing import ListPrice
from shared.chassis.engine.unit_of_work import CommandEnvelope, UnitOfWork
from shared.chassis.http.auth import GUEST
from shared.chassis.messages import clock
from shared.chassis.messages.cloudevents import MAX_EVENT_BYTES, decode, encode
from shared.chassis.messages.decider import no_tasks
from shared.chassis.messages.rejection import Rejected
from shared.contracts import CATALOG
from shared.contracts.types import MAX_UNITS
from shared.settings import ShopSettings
from tests.support.chassis import INVENTORY, ORDER, ServiceSpec
from tests.support.strategies import ID_CHARACTERS

LETTERS = ["a", '"', "é", "住", "𝄞", "\x01"]
"""They take 1 to 6 bytes in JSON."""


def longest(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Values at the limits of a type."""
    match info:
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: longest(field.type) for field in fields})
        case inspect.UnionType(types=types):
            return longest(
                next(member for member in types if not isinstance(member, inspect.NoneType))
            )
        case inspect.StrType(pattern=pattern, max_length=most):
            if pattern:
                return st.just("a" * 64) if most == 64 else st.just("a" * (most - 2) + "@b")
            return st.sampled_from(LETTERS).map(lambda letter: letter * most)
        case inspect.IntType(le=most):
            return st.just(most)
        case inspect.VarTupleType(item_type=item, max_length=most):
            return st.integers(1, most).flatmap(
                lambda size: st.lists(longest(item), min_size=size, max_size=size).map(tuple)
            )
        case inspect.DictType(value_type=value, max_length=most):
            names = [f"{'x' * 62}{number:02}" for number in range(most)]
            return st.fixed_dictionaries({name: longest(value) for name in names})
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case _:
            return st.none()


def bodies(body: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return longest(inspect.type_info(body))


def executed(service: ServiceSpec, state: Any, command: Any) -> Rejected | list[Any]:
    """What the writer would record, or the refusal."""
    logic = service.logic._replace(schedule=no_tasks)
    work = UnitOfWork(service.source, logic, state, 0, clock.now())
    answer = work.execute(CommandEnvelope(command))
    return answer if isinstance(answer, Rejected) else work.events


def are_decodable(events: list[Any]) -> bool:
    for recorded in events:
        body = encode(recorded)
        assert len(body) <= MAX_EVENT_BYTES
        assert decode(recorded.subject, body, CATALOG) == recorded
    return bool(events)


@given(bodies(orders.NewOrder), st.sampled_from(LETTERS), st.integers(1, 200))
def test_order_at_its_bounds_is_decodable_or_rejected(
    data: orders.NewOrder, letter: str, name_length: int
):
    # A name of an address is refused beside one, and too many units of one product are.
    items = [replace(item, product_id=f"{line:064}") for line, item in enumerate(data.items)]
    data = replace(data, address_name=None, items=items)
    prices = {
        item.product_id: ListPrice(
            product_id=item.product_id,
            name=letter * name_length,
            price=item.price,
            is_deleted=False,
            position=1,
        )
        for item in data.items
    }
    command = orders.order_command(data, "u" * 64, "o" * 64, GUEST, ShopSettings())
    unlimited = logic(ShopSettings(max_units_per_line=MAX_UNITS))
    service = ORDER._replace(logic=unlimited)
    answer = executed(service, OrderState(prices=prices), command)
    if isinstance(answer, Rejected):
        assert answer.code == "event-too-large"
        assert len(data.items) * name_length > 4000
    else:
        assert are_decodable(answer)


@given(bodies(inventory.NewProduct))
def test_product_at_its_bounds_is_decodable(data: inventory.NewProduct):
    command = CreateProduct(
        product_id=data.product_id,
        description=inventory.description_of(data),
        stock=data.stock,
    )
    assert are_decodable(executed(INVENTORY, InventoryState(), command))


@given(bodies(accounts.NewCustomer), st.text(ID_CHARACTERS, min_size=1, max_size=64))
def test_customer_at_its_bounds_is_decodable(data: accounts.NewCustomer, user_id: str):
    command = RegisterCustomer(
        user_id=user_id, email=data.email.lower(), name=data.name, locale=data.locale
    )
    assert are_decodable(executed(ORDER, OrderState(), command))
