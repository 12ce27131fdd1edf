"""Which order a user means, who may give its number instead of its id."""

from quadrille.cli.api_client import Client, NotFoundError
from quadrille.endpoints import ShopError
from shared.order_number import parse_order_number


def find_order_id(client: Client, order: str) -> str:
    """The order's id. A number is looked up among the orders that the user may list. Raises ShopError."""
    number = parse_order_number(order)
    if number is None:
        return order
    order_ids = _ids_of(client, number)
    if not order_ids:
        raise NotFoundError(f"there is no order {number}")
    return _only(number, order_ids)


def find_entity_id(client: Client, entity: str) -> str:
    """As `find_order_id`, where the id may also be that of another entity, which may look like a number."""
    number = parse_order_number(entity)
    order_ids = _ids_of(client, number) if number else []
    return _only(str(number), order_ids) if order_ids else entity


def _ids_of(client: Client, number: str) -> list[str]:
    page = client.get("read", "/orders", number=number)
    return [order["orderId"] for order in page["items"]]


def _only(number: str, order_ids: list[str]) -> str:
    if len(order_ids) > 1:
        ids = ", ".join(order_ids)
        raise ShopError(f"several orders have the number {number}, name one by its id: {ids}")
    return order_ids[0]
