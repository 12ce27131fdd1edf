from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chassis.messages.catalog import Catalog, DecodeError, Upcaster
from shared.chassis.messages.cloudevents import decode, decode_stored, encode, encode_stored
from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import SigningKeyPublished
from shared.chassis.messages.subjects import event_token, subject_of, subject_of_every
from shared.contracts import (
    CATALOG,
    Address,
    OrderConfirmed,
    OrderCreated,
    OrderId,
    ShipmentInitiated,
    StockReserved,
)
from shared.contracts.upcasters import address_of_parts
from tests.support.history import recorded
from tests.support.strategies import events

GOLDEN = Path(__file__).parent / "golden"

every_event_type = pytest.mark.parametrize(
    "event_type", CATALOG.event_types.values(), ids=CATALOG.event_types
)


@given(st.sampled_from(list(CATALOG.event_types.values())).flatmap(events))
def test_encoded_event_is_decoded_unchanged(event: Event):
    sent = recorded(event)
    assert decode(sent.subject, encode(sent), CATALOG) == sent


@every_event_type
def test_schema_version_has_a_golden_sample(event_type: type[Event]):
    paths = GOLDEN.glob(f"{event_type.__name__}.v*.json")
    names = {path.stem.partition("+")[0] for path in paths}
    versions = range(1, event_type.SCHEMA_VERSION + 1)
    assert names == {f"{event_type.__name__}.v{version}" for version in versions}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_sample_is_decoded_and_encoded_unchanged(path: Path):
    """`+status`, `+reason`, `+actor`, `+by` mark a sample with a field that was added without a new version."""
    event_type, version = path.stem.partition("+")[0].split(".v")
    body = path.read_bytes().strip()
    sample = msgspec.json.decode(body)
    token = event_token(event_type)
    read = decode(f"shop.{sample['source']}.{sample['subject']}.{token}", body, CATALOG)
    assert read.event_type == event_type
    if int(version) == read.event.SCHEMA_VERSION:
        assert encode(read) == body
    assert encode_stored(decode_stored(read.subject, body, CATALOG)) == body


@every_event_type
def test_event_without_optional_fields_is_decoded(event_type: type[Event]):
    fields = msgspec.structs.fields(event_type)
    required = {field.encode_name for field in fields if field.required}
    sample = msgspec.json.decode((GOLDEN / f"{event_type.__name__}.v1.json").read_bytes())["data"]
    least = {name: value for name, value in sample.items() if name in required}
    CATALOG.decode(event_type.__name__, 1, msgspec.json.encode(least))


@pytest.mark.parametrize("event_type", [OrderCreated, ShipmentInitiated])
def test_address_of_first_version_is_structured(event_type: type[OrderCreated | ShipmentInitiated]):
    sample = (GOLDEN / f"{event_type.__name__}.v1.json").read_bytes()
    data = msgspec.json.decode(sample, type=dict[str, msgspec.Raw])["data"]
    event = CATALOG.decode(event_type.__name__, 1, data)
    assert isinstance(event, event_type)
    assert event.shipping_address == Address(
        name="山田太郎", lines=("1-2-3 Shibuya",), postcode="150-0002", city="Tokyo", country="JP"
    )


@pytest.mark.parametrize(
    ("parts", "address"),
    [
        ({}, {}),
        ({"Full Name": "Aiko", "ZIP": "1", "town": "Kyoto"}, {"postcode": "1", "city": "Kyoto"}),
        ({"name": "Aiko", "recipient": "Ben"}, {"lines": ["Ben"]}),
        ({"name": "Aiko", "country": "Japan"}, {"lines": ["Japan"]}),
        ({"name": "Aiko", "country": "jp", "tel": "1"}, {"country": "JP", "phone": "1"}),
        ({"name": "Aiko", "street": "Main St", "x": "", "住所": "y"}, {"lines": ["Main St", "y"]}),
    ],
)
def test_parts_of_address_find_their_fields(parts: dict[str, str], address: dict[str, object]):
    name = "Aiko" if parts else ""
    whole = {"name": name, "lines": [], "postcode": "", "city": ""} | address
    assert address_of_parts(parts) == whole


@given(st.dictionaries(st.text(max_size=64), st.text(max_size=200), max_size=20))
def test_address_of_first_version_loses_no_text(parts: dict[str, str]):
    initiated = {"shipmentId": "s1", "orderId": "o1", "shippingAddress": parts, "items": []}
    event = CATALOG.decode("ShipmentInitiated", 1, msgspec.json.encode(initiated))
    assert isinstance(event, ShipmentInitiated)
    assert event.shipping_address
    address = msgspec.structs.asdict(event.shipping_address)
    texts = [*address.pop("lines"), *filter(None, address.values())]
    assert sorted(texts) == sorted(filter(None, parts.values()))


def test_unknown_field_is_ignored():
    event = CATALOG.decode("OrderConfirmed", 1, b'{"orderId":"o1","laterField":[1]}')
    assert event == OrderConfirmed(order_id="o1")


def catalog(**upcasters: Upcaster) -> Catalog:
    """Only `OrderConfirmed`, with an upcaster for each version: `v1=...`."""
    by_version = {
        ("OrderConfirmed", int(name.removeprefix("v"))): upcaster
        for name, upcaster in upcasters.items()
    }
    return Catalog([OrderConfirmed], key_issuer="order", upcasters=by_version)


def test_old_event_is_upcast_step_by_step(monkeypatch):
    monkeypatch.setattr(OrderConfirmed, "SCHEMA_VERSION", 3)
    upcasting = catalog(
        v1=lambda data: {"number": data["orderNumber"]}, v2=lambda data: {"orderId": data["number"]}
    )
    confirmed = OrderConfirmed(order_id="o1")
    assert upcasting.decode("OrderConfirmed", 1, b'{"orderNumber":"o1"}') == confirmed
    assert upcasting.decode("OrderConfirmed", 2, b'{"number":"o1"}') == confirmed
    assert upcasting.decode("OrderConfirmed", 3, b'{"orderId":"o1"}') == confirmed


def test_old_event_without_upcaster_is_undecodable(monkeypatch):
    monkeypatch.setattr(OrderConfirmed, "SCHEMA_VERSION", 2)
    with pytest.raises(DecodeError, match="unknown schema version 1 of OrderConfirmed"):
        catalog().decode("OrderConfirmed", 1, b'{"orderId":"o1"}')


def test_later_schema_version_is_undecodable():
    upcasting = catalog(v2=lambda data: data)
    with pytest.raises(DecodeError, match="unknown schema version 2 of OrderConfirmed"):
        upcasting.decode("OrderConfirmed", 2, b'{"orderId":"o1"}')


def test_upcaster_that_misses_a_field_is_undecodable(monkeypatch):
    monkeypatch.setattr(OrderConfirmed, "SCHEMA_VERSION", 2)
    upcasting = catalog(v1=lambda data: {"orderId": data["orderNumber"]})
    with pytest.raises(DecodeError, match="schema version 1 of OrderConfirmed"):
        upcasting.decode("OrderConfirmed", 1, b'{"orderId":"o1"}')


class Unpublished(Event, frozen=True, kw_only=True):
    """An event whose publisher was forgotten."""

    ENTITY = "order_id"

    order_id: OrderId


def test_catalog_refuses_an_event_without_publisher():
    with pytest.raises(TypeError, match="Unpublished does not name its publisher"):
        Catalog([Unpublished], key_issuer="order")


def test_catalog_contains_every_event_but_no_base():
    assert "OrderEvent" not in CATALOG.event_types
    assert "ShipmentEvent" not in CATALOG.event_types
    samples = {path.name.partition(".")[0] for path in GOLDEN.glob("*.json")}
    assert set(CATALOG.event_types) == samples


@every_event_type
def test_entity_id_must_fit_a_subject(event_type: type[Event]):
    sample = msgspec.json.decode((GOLDEN / f"{event_type.__name__}.v1.json").read_bytes())
    event = CATALOG.decode(event_type.__name__, 1, msgspec.json.encode(sample["data"]))
    assert event.entity_id == sample["subject"]
    invalid = {**sample["data"], _wire_name(event_type): "a.b"}
    with pytest.raises(msgspec.ValidationError):
        CATALOG.decode(event_type.__name__, 1, msgspec.json.encode(invalid))


def _wire_name(event_type: type[Event]) -> str:
    fields = {field.name: field.encode_name for field in msgspec.structs.fields(event_type)}
    return fields[event_type.ENTITY]


@pytest.mark.parametrize("bad", ["", "a b", "a.b", "*", ">", "a\n", "ä", "x" * 65])
def test_id_that_breaks_a_subject_is_refused(bad: str):
    with pytest.raises(msgspec.ValidationError):
        CATALOG.decode("OrderConfirmed", 1, msgspec.json.encode({"orderId": bad}))


def test_subject_names_source_entity_and_event():
    assert subject_of("inventory", "o1", "StockReserved") == "shop.inventory.o1.stock_reserved"
    assert subject_of_every("inventory", StockReserved) == "shop.inventory.*.stock_reserved"


def test_subject_tokens_are_unique():
    assert len({event_token(name) for name in CATALOG.event_types}) == len(CATALOG.event_types)


def test_event_has_one_publisher_except_system_events():
    names = [
        name
        for name, event_type in CATALOG.event_types.items()
        if CATALOG.publisher_of(event_type) is None
    ]
    assert names == ["EventDeadLettered", "EventRedriven", "EventDiscarded"]


def test_catalog_knows_each_publisher():
    assert CATALOG.publisher_of(StockReserved) == "inventory"
    assert StockReserved in CATALOG.published_by("inventory")
    assert CATALOG.publisher_of(SigningKeyPublished) == "order"
    assert CATALOG.sources == {"order", "inventory", "shipping", "notifier"}


def test_event_of_another_publisher_is_undecodable():
    forged = recorded(StockReserved(order_id="o1", items=()), source="order")
    with pytest.raises(DecodeError, match="order may not publish StockReserved"):
        decode(forged.subject, encode(forged), CATALOG)


def _sent(**changes: object) -> tuple[str, bytes]:
    """A good message of the order service, with some of its envelope changed."""
    sent = recorded(OrderConfirmed(order_id="o1"))
    return sent.subject, msgspec.json.encode(msgspec.json.decode(encode(sent)) | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "shipping"}, "shipping may not publish OrderConfirmed"),
        ({"data": {"orderId": "o2"}}, "was received as shop.order.o1.order_confirmed but is"),
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
        decode(subject, body, CATALOG)


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.just(b"[" * 100_000))
def test_malformed_message_is_undecodable(body: bytes):
    with pytest.raises(DecodeError):
        decode("shop.order.o1.order_confirmed", body, CATALOG)
