from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chassis.messages.recorded_event import DecodeError, decode, decode_data, encode
from shared.chassis.messages.subjects import event_token, subject_of, subject_of_every
from shared.chassis.messages.upcasters import UPCASTERS, upcast
from shared.contracts import EVENT_TYPES, PUBLISHERS, Event, OrderConfirmed, StockReserved
from tests.support.history import recorded
from tests.support.strategies import events

GOLDEN = Path(__file__).parent / "golden"

every_event_type = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)


@given(st.sampled_from(list(EVENT_TYPES.values())).flatmap(events))
def test_encoded_event_is_decoded_unchanged(event: Event):
    sent = recorded(event)
    assert decode(sent.subject, encode(sent)) == sent


@every_event_type
def test_schema_version_has_a_golden_sample(event_type: type[Event]):
    names = {path.stem for path in GOLDEN.glob(f"{event_type.__name__}.v*.json")}
    versions = range(1, event_type.SCHEMA_VERSION + 1)
    assert names == {f"{event_type.__name__}.v{version}" for version in versions}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_sample_is_decoded_and_encoded_unchanged(path: Path):
    event_type, version = path.stem.split(".v")
    body = path.read_bytes().strip()
    sample = msgspec.json.decode(body)
    token = event_token(event_type)
    read = decode(f"shop.{sample['source']}.{sample['subject']}.{token}", body)
    assert read.event_type == event_type
    if int(version) == read.event.SCHEMA_VERSION:
        assert encode(read) == body


@every_event_type
def test_event_without_optional_fields_is_decoded(event_type: type[Event]):
    fields = msgspec.structs.fields(event_type)
    required = {field.encode_name for field in fields if field.required}
    sample = msgspec.json.decode((GOLDEN / f"{event_type.__name__}.v1.json").read_bytes())["data"]
    least = {name: value for name, value in sample.items() if name in required}
    decode_data(event_type.__name__, 1, msgspec.json.encode(least))


def test_unknown_field_is_ignored():
    event = decode_data("OrderConfirmed", 1, b'{"orderId":"o1","laterField":[1]}')
    assert event == OrderConfirmed(order_id="o1")


def test_old_event_is_upcast_step_by_step():
    steps = {
        ("OrderCreated", 1): lambda data: {**data, "first": True},
        ("OrderCreated", 2): lambda data: {**data, "second": "first" in data},
    }
    assert upcast("OrderCreated", 1, {}, 3, steps) == {"first": True, "second": True}
    assert upcast("OrderCreated", 2, {}, 3, steps) == {"second": False}
    assert upcast("OrderCreated", 3, {}, 3, steps) == {}


def test_old_event_without_upcaster_is_undecodable(monkeypatch):
    monkeypatch.setattr(OrderConfirmed, "SCHEMA_VERSION", 2)
    with pytest.raises(DecodeError, match="unknown schema version 1 of OrderConfirmed"):
        decode_data("OrderConfirmed", 1, b'{"orderId":"o1"}')


def test_old_event_with_upcaster_is_decoded(monkeypatch):
    monkeypatch.setattr(OrderConfirmed, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(
        UPCASTERS, ("OrderConfirmed", 1), lambda data: {"orderId": data["orderNumber"]}
    )
    event = decode_data("OrderConfirmed", 1, b'{"orderNumber":"o1"}')
    assert event == OrderConfirmed(order_id="o1")


@every_event_type
def test_entity_id_must_fit_a_subject(event_type: type[Event]):
    sample = msgspec.json.decode((GOLDEN / f"{event_type.__name__}.v1.json").read_bytes())
    event = decode_data(event_type.__name__, 1, msgspec.json.encode(sample["data"]))
    assert event.entity_id == sample["subject"]
    invalid = {**sample["data"], _wire_name(event_type): "a.b"}
    with pytest.raises(msgspec.ValidationError):
        decode_data(event_type.__name__, 1, msgspec.json.encode(invalid))


def _wire_name(event_type: type[Event]) -> str:
    fields = {field.name: field.encode_name for field in msgspec.structs.fields(event_type)}
    return fields[event_type.ENTITY]


@pytest.mark.parametrize("bad", ["", "a b", "a.b", "*", ">", "a\n", "ä", "x" * 65])
def test_id_that_breaks_a_subject_is_refused(bad: str):
    with pytest.raises(msgspec.ValidationError):
        decode_data("OrderConfirmed", 1, msgspec.json.encode({"orderId": bad}))


def test_subject_names_source_entity_and_event():
    assert subject_of("inventory", "o1", "StockReserved") == "shop.inventory.o1.stock_reserved"
    assert subject_of_every("inventory", StockReserved) == "shop.inventory.*.stock_reserved"


def test_subject_tokens_are_unique():
    assert len({event_token(name) for name in EVENT_TYPES}) == len(EVENT_TYPES)


def test_event_has_one_publisher_except_system_events():
    anyone = set(EVENT_TYPES.values()) - set(PUBLISHERS)
    assert {event_type.__name__ for event_type in anyone} == {"EventDeadLettered", "EventRedriven"}


def test_event_of_another_publisher_is_undecodable():
    forged = recorded(StockReserved(order_id="o1", items=()), source="order")
    with pytest.raises(DecodeError, match="StockReserved is not for order to say"):
        decode(forged.subject, encode(forged))


def _sent(**changes: object) -> tuple[str, bytes]:
    """A good message of the order service, with some of its envelope changed."""
    sent = recorded(OrderConfirmed(order_id="o1"))
    return sent.subject, msgspec.json.encode(msgspec.json.decode(encode(sent)) | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "shipping"}, "OrderConfirmed is not for shipping to say"),
        ({"data": {"orderId": "o2"}}, "came as shop.order.o1.order_confirmed but says it is"),
        ({"type": "OrderMislaid"}, "unknown event type 'OrderMislaid'"),
        ({"dataschema": "urn:quadrille:event:OrderConfirmed:9"}, "unknown schema version 9"),
        ({"dataschema": "urn:quadrille:event:OrderConfirmed:new"}, "invalid literal"),
        ({"dataschema": "urn:quadrille:event:OrderConfirmed:0"}, "unknown schema version 0"),
        ({"sequence": "first"}, "sequence"),
        ({"time": "yesterday"}, "Invalid RFC3339"),
        ({"data": {}}, "missing required field `orderId`"),
        ({"data": []}, "Expected `object`"),
        ({"id": None}, "Expected `str`"),
    ],
)
def test_message_that_violates_its_contract_is_undecodable(changes: dict[str, object], reason: str):
    subject, body = _sent(**changes)
    with pytest.raises(DecodeError, match=reason):
        decode(subject, body)


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.just(b"[" * 100_000))
def test_malformed_message_is_undecodable(body: bytes):
    with pytest.raises(DecodeError):
        decode("shop.order.o1.order_confirmed", body)
