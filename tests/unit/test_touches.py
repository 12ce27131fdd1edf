"""What a message touches follows from the types of its fields."""

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from shared.chassis.messages.touches import References, id_of, touches

OrderId = Annotated[str, Meta(max_length=64), id_of("order")]
ProductId = Annotated[str, id_of("product")]
MailId = Annotated[str, id_of("mail", "notification")]


class Line(Struct):
    product_id: ProductId
    quantity: int = 1


class Parcel(Struct):
    lines: tuple[Line, ...] = ()
    carrier: str = "DHL"


class Message(Struct):
    order_id: OrderId = "o1"
    note: str = "o9"
    replaces: OrderId | None = None
    lines: Annotated[tuple[Line, ...], Meta(max_length=9)] = ()
    gifts: tuple[ProductId, ...] = ()
    parcel: Parcel | None = None


class Mailed(Struct):
    mail_id: MailId


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        (Message(), {"order": {"o1"}}),
        (Message(replaces="o2"), {"order": {"o1", "o2"}}),
        (Message(lines=(Line("p1"), Line("p2"))), {"order": {"o1"}, "product": {"p1", "p2"}}),
        (Message(gifts=("p3",)), {"order": {"o1"}, "product": {"p3"}}),
        (Message(parcel=Parcel((Line("p4"),))), {"order": {"o1"}, "product": {"p4"}}),
        (Mailed("m1"), {"mail": {"m1"}, "notification": {"m1"}}),
        (Parcel(), {}),
    ],
    ids=["field", "optional", "nested tuple", "tuple of ids", "two levels", "two kinds", "none"],
)
def test_message_touches_ids_of_its_fields(message: Struct, ids: dict[str, set[str]]) -> None:
    assert touches(message) == ids


def test_touches_of_many_messages_are_joined() -> None:
    assert touches(Message("o1"), Message("o2")) == {"order": {"o1", "o2"}}


def test_single_field_leaves_others_out() -> None:
    references = References()
    references.add_field(Message("o1", lines=(Line("p1"),)), "order_id")
    assert references == {"order": {"o1"}}
