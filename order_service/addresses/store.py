"""The address books' table."""

from sqlalchemy import Column, Table, Text

from order_service.addresses.domain import AddressBook
from order_service.tables import METADATA
from shared.chassis.storage.database import Json
from shared.chassis.storage.entity_store import EntityTable

ADDRESS_BOOKS = Table(
    "address_books",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("addresses", Json, nullable=False, comment="by name"),
)

ADDRESS_BOOK_TABLE = EntityTable(AddressBook, ADDRESS_BOOKS, "address_book")
