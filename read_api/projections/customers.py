"""Who has signed up."""

from datetime import datetime

from msgspec.structs import replace

from read_api.models import Customer, ReadModels
from read_api.projections.known import known
from shared.contracts import CustomerRegistered, CustomerUpdated


def introduced(
    view: ReadModels, event: CustomerRegistered | CustomerUpdated, at: datetime
) -> Customer:
    """The customer as he is known from now on; raises UnknownEntity."""
    match event:
        case CustomerRegistered():
            return Customer(
                user_id=event.user_id,
                email=event.email,
                name=event.name,
                locale=event.locale,
                role=event.role,
                created_at=at,
                updated_at=at,
            )
        case CustomerUpdated():
            return replace(
                known(view.customers, event.user_id),
                email=event.email,
                name=event.name,
                locale=event.locale,
                updated_at=at,
            )
