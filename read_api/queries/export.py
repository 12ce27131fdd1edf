"""All that is stored about one customer, other than credentials, which no event contains."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam

from read_api.queries.carts import find_cart
from read_api.queries.customers import find_customer
from read_api.queries.events import EVENTS_AS_VIEWS
from read_api.queries.orders import orders_of_customer
from read_api.queries.visibility import OPERATORS_ONLY, Visibility, redacted_order
from read_api.schemas import BookAddressView, EventView, Export
from read_api.tables import EVENTS
from shared.chassis.http.auth import Caller
from shared.chassis.messages import clock
from shared.chassis.storage.reader import Reader
from shared.contracts import Address, AddressRemoved, AddressSaved

_EVENTS_OF_CUSTOMER = EVENTS_AS_VIEWS.where(
    EVENTS.c.entity_id == bindparam("user_id"),
    EVENTS.c.source == "order",
    EVENTS.c.event_type.not_in(OPERATORS_ONLY),
).order_by(EVENTS.c.position)


async def export(reader: Reader, caller: Caller, user_id: str) -> Export:
    """Of the caller's own account. A guest's orders are not included: nobody proved whose they are.

    Raises Rejected for a customer who is not received yet.
    """
    events = await reader.fetch_views(EventView, _EVENTS_OF_CUSTOMER, user_id=user_id)
    visibility = Visibility(user_id, viewer_id=user_id)
    return Export(
        exported_at=clock.now(),
        customer=await find_customer(reader, user_id),
        addresses=_addresses(events),
        cart=await find_cart(reader, user_id),
        orders=[
            redacted_order(caller, order) for order in await orders_of_customer(reader, user_id)
        ],
        events=[visibility.redacted(event) for event in events],
    )


def _addresses(events: Sequence[EventView]) -> list[BookAddressView]:
    """The address book after these events."""
    addresses = {}
    for event in events:
        if event.type == AddressSaved.__name__:
            addresses[event.data["name"]] = event.data["address"]
        elif event.type == AddressRemoved.__name__:
            addresses.pop(event.data["name"], None)
    return [
        BookAddressView(name=name, address=msgspec.convert(address, Address))
        for name, address in addresses.items()
    ]
