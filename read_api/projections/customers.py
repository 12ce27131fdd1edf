"""Customers, from the events of the order service."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from read_api.models import Customer
from read_api.projections.unknown_entity import require
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.contracts import CustomerRegistered, CustomerRoleChanged, CustomerUpdated

CONSUMES = (CustomerRegistered, CustomerUpdated, CustomerRoleChanged)


class Customers(Struct, frozen=True, kw_only=True):
    """By user id."""

    customers: Mapping[str, Customer] = {}


def evolve(state: Customers, recorded: RecordedEvent) -> Customers:
    """The customers after one of the consumed events. Raises UnknownEntity."""
    event, at = recorded.event, recorded.recorded_at
    match event:
        case CustomerRegistered():
            customer = Customer(
                user_id=event.user_id,
                email=event.email,
                name=event.name,
                locale=event.locale,
                role=event.role,
                created_at=at,
                updated_at=at,
            )
        case CustomerUpdated():
            customer = replace(
                require(state.customers, event.user_id),
                email=event.email,
                name=event.name,
                locale=event.locale,
                updated_at=at,
            )
        case CustomerRoleChanged():
            customer = replace(
                require(state.customers, event.user_id), role=event.role, updated_at=at
            )
        case _:
            return state
    return Customers(customers={**state.customers, customer.user_id: customer})
