"""Every event has an upper bound, fits into one message, and accepts what an HTTP API accepts."""

from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import inventory_service.api as inventory
import shipping_service.api as shipping
from order_service.accounts import api as accounts
from order_service.orders import api as orders
from shared import contracts
from shared.chassis.messages.catalog import DecodeError
from shared.chassis.messages.cloudevents import (
    MAX_ENVELOPE_BYTES,
    MAX_EVENT_BYTES,
    CloudEvent,
    decode,
    encode,
)
from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CATALOG, OrderCreated
from shipping_service.carriers import remote
from tests.support.history import recorded

LONGEST = "\x01"
"""Six bytes in JSON: no other character takes more."""
BOUNDLESS = (
    inspect.BoolType,
    inspect.NoneType,
    inspect.LiteralType,
    inspect.EnumType,
    inspect.DateTimeType,
)


def unbounded(info: inspect.Type, where: str) -> list[str]:
    """The fields that have no upper bound."""
    match info:
        case inspect.Metadata(type=inner):
            return unbounded(inner, where)
        case inspect.StructType(fields=fields):
            nested = (unbounded(field.type, f"{where}.{field.name}") for field in fields)
            return list(chain.from_iterable(nested))
        case inspect.UnionType(types=types):
            return list(chain.from_iterable(unbounded(member, where) for member in types))
        case inspect.StrType(max_length=most):
            return [] if most else [where]
        case inspect.IntType(ge=least, le=most):
            return [where] if least is None or most is None else []
        case inspect.VarTupleType(item_type=item, max_length=most):
            return ([] if most else [where]) + unbounded(item, f"{where}[]")
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            inner = unbounded(key, f"{where} key") + unbounded(value, f"{where}[]")
            return ([] if most else [where]) + inner
        case _:
            return [] if isinstance(info, BOUNDLESS) else [f"{where}: {info}"]


def widest(info: inspect.Type) -> Any:
    """The value of this type that takes most bytes as JSON."""
    match info:
        case inspect.Metadata(type=inner):
            return widest(inner)
        case inspect.StructType(cls=struct, fields=fields):
            return struct(**{field.name: widest(field.type) for field in fields})
        case inspect.UnionType(types=types):
            return widest(
                next(member for member in types if not isinstance(member, inspect.NoneType))
            )
        case inspect.StrType(pattern=pattern, max_length=most):
            return ("a" if pattern else LONGEST) * most
        case inspect.IntType(ge=least, le=most):
            return max(least, most, key=lambda bound: len(str(bound)))
        case inspect.VarTupleType(item_type=item, max_length=most):
            return (widest(item),) * most
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return {f"{widest(key)[2:]}{number:02}": widest(value) for number in range(most)}
        case inspect.LiteralType(values=values) | inspect.EnumType(cls=values):
            return max(values, key=len)
        case inspect.BoolType():
            return True


def widest_message(event_type: type[Event]) -> RecordedEvent:
    event = widest(inspect.type_info(event_type))
    return RecordedEvent(
        event_id="e" * 64,
        source="s" * 32,
        position=10**18 - 1,
        event=event,
        recorded_at=datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC),
        correlation_id="c" * 64,
        causation_id="d" * 64,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        actor="f" * 80,
    )


every_event_type = pytest.mark.parametrize(
    "event_type", CATALOG.event_types.values(), ids=CATALOG.event_types
)


@every_event_type
def test_event_fields_are_bounded(event_type: type[Event]):
    assert unbounded(inspect.type_info(event_type), event_type.__name__) == []


def test_envelope_fields_are_bounded():
    (data,) = unbounded(inspect.type_info(CloudEvent), "CloudEvent")
    assert data.startswith("CloudEvent.data: RawType")


@every_event_type
def test_widest_envelope_fits_its_allowance(event_type: type[Event]):
    message = msgspec.structs.replace(
        widest_message(event_type), correlation_id=LONGEST * 64, causation_id=LONGEST * 64
    )
    data = msgspec.json.encode(message.event)
    assert len(encode(message)) - len(data) <= MAX_ENVELOPE_BYTES


@pytest.mark.parametrize(
    "event_type",
    [event_type for event_type in CATALOG.event_types.values() if event_type is not OrderCreated],
    ids=[name for name in CATALOG.event_types if name != "OrderCreated"],
)
def test_widest_event_fits_a_message(event_type: type[Event]):
    assert len(encode(widest_message(event_type))) <= MAX_EVENT_BYTES


def test_order_of_hundred_lines_fits_a_message():
    line = contracts.OrderItem(
        product_id="p" * 64, name="n" * 200, quantity=1_000_000, price=1_000_000_000
    )
    created = msgspec.structs.replace(
        widest_message(OrderCreated).event,
        items=(line,) * 100,
        shipping_address={f"line {number}": "住" * 100 for number in range(20)},
    )
    message = msgspec.structs.replace(widest_message(OrderCreated), event=created)
    assert len(encode(message)) <= MAX_EVENT_BYTES


def test_oversized_message_is_not_parsed():
    sent = recorded(contracts.OrderConfirmed(order_id="o1"))
    body = encode(sent)
    assert decode(sent.subject, body.ljust(MAX_EVENT_BYTES), CATALOG) == sent
    with pytest.raises(DecodeError, match="65537 bytes are more than the 65536 of an event"):
        decode(sent.subject, body.ljust(MAX_EVENT_BYTES + 1), CATALOG)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x" * 65),
        ("id", ""),
        ("correlationid", "x" * 65),
        ("causationid", "x" * 65),
        ("traceparent", "x" * 55),
        ("actor", "x" * 81),
        ("dataschema", "x" * 129),
        ("subject", "x" * 65),
        ("type", "x" * 65),
        ("specversion", "1.0000000"),
    ],
)
def test_attribute_over_its_bound_is_undecodable(name: str, value: str):
    sent = recorded(contracts.OrderConfirmed(order_id="o1"))
    body = msgspec.json.encode(msgspec.json.decode(encode(sent)) | {name: value})
    with pytest.raises(DecodeError, match=rf"at `\$\.{name}`"):
        decode(sent.subject, body, CATALOG)


HTTP_FIELDS = [
    (accounts.NewCustomer, {}, contracts.CustomerRegistered),
    (accounts.CustomerChange, {}, contracts.CustomerUpdated),
    (orders.NewOrder, {}, OrderCreated),
    (orders.ItemWanted, {}, contracts.OrderItem),
    (orders.Cancellation, {"reason": "note"}, contracts.OrderCancellationRequested),
    (inventory.NewProduct, {}, contracts.ProductCreated),
    (inventory.ProductDescription, {}, contracts.ProductUpdated),
    (inventory.NewProduct, {"name": "name"}, contracts.OrderItem),
    (inventory.StockChange, {}, contracts.StockAdded),
    (shipping.CarrierReport, {}, contracts.ShipmentCompleted),
    (shipping.CarrierReport, {}, contracts.ShipmentFailed),
    (remote.Confirmation, {}, contracts.ShipmentDispatched),
]
"""HTTP bodies and the events that carry their fields, by the same name unless another is given."""


def bounds(info: inspect.Type) -> list[float]:
    """The upper bounds within a type, in a fixed order."""
    match info:
        case inspect.Metadata(type=inner):
            return bounds(inner)
        case inspect.UnionType(types=types):
            return list(chain.from_iterable(map(bounds, types)))
        case inspect.StrType(max_length=most):
            return [most]
        case inspect.IntType(le=most):
            return [most]
        case inspect.VarTupleType(max_length=most):
            return [most]
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return [most, *bounds(key), *bounds(value)]
        case inspect.LiteralType(values=values):
            return [max(map(len, values))]
        case _:
            return []


@pytest.mark.parametrize(
    ("body", "names", "event_type"), HTTP_FIELDS, ids=lambda value: getattr(value, "__name__", "")
)
def test_event_accepts_what_http_accepts(
    body: type[msgspec.Struct], names: dict[str, str], event_type: type[Event]
):
    stored = {field.name: bounds(field.type) for field in inspect.type_info(event_type).fields}
    compared = 0
    for field in inspect.type_info(body).fields:
        accepted = bounds(field.type)
        name = names.get(field.name, field.name)
        if not accepted or name not in stored:
            continue
        compared += 1
        assert len(accepted) == len(stored[name])
        for accepted_bound, stored_bound in zip(accepted, stored[name], strict=True):
            assert accepted_bound <= stored_bound, field.name
    assert compared
