"""Customers: a page of them, newest first, or one."""

from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, or_, select

from read_api.queries.search import distinct_words, fetch_search
from read_api.schemas import CustomerPage, CustomerView
from read_api.tables import CUSTOMERS
from shared.chassis.http.pagination import Keyset, page_of, to_cursor
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.views import to_views, view_as_json

_CUSTOMERS = select(view_as_json(CustomerView, CUSTOMERS))
_CUSTOMER = _CUSTOMERS.where(CUSTOMERS.c.user_id == bindparam("user_id"))
_NEWEST_FIRST = Keyset(
    tuple[datetime, str], CUSTOMERS.c.created_at.desc(), CUSTOMERS.c.user_id.desc()
)


async def list_customers(
    reader: Reader, words: str, cursor: str | None, limit: int
) -> CustomerPage:
    """Those with every word in their id, address or name. Raises BadRequest for a search that takes too long."""
    query = _CUSTOMERS.where(*(_contains(word) for word in distinct_words(words)))
    rows = await fetch_search(reader, _NEWEST_FIRST.select(query, cursor, limit))
    return page_of(
        to_views(rows, CustomerView),
        limit,
        lambda customer: customer,
        lambda customer: to_cursor(customer.created_at, customer.user_id),
    )


async def find_customer(reader: Reader, user_id: str) -> CustomerView:
    """The customer. Raises Rejected."""
    customer = await reader.find_view(CustomerView, _CUSTOMER, user_id=user_id)
    if customer is None:
        raise Rejected("unknown-customer", f"there is no customer {user_id}")
    return customer


def _contains(word: str) -> ColumnElement[bool]:
    texts = (CUSTOMERS.c.user_id, CUSTOMERS.c.email, CUSTOMERS.c.name)
    return or_(*(text.icontains(word, autoescape=True) for text in texts))
