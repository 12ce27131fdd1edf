"""A customer's address book: addresses to ship to, by the names that the customer gave them."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct

from shared.chassis.messages.event import Event
from shared.chassis.messages.recorded_event import RecordedEvent
from shared.chassis.messages.rejection import Rejected
from shared.chassis.messages.touches import id_of
from shared.contracts import Address, AddressRemoved, AddressSaved

MAX_ADDRESSES = 20

AddressBookId = Annotated[str, id_of("address_book")]
"""The id of its customer."""


class BookAddress(Struct, frozen=True, kw_only=True):
    """Names an address of a customer's book."""

    user_id: AddressBookId
    name: str


class AddressBook(Struct, frozen=True, kw_only=True):
    user_id: str
    addresses: Mapping[str, Address] = {}
    """By name, in the order they were added."""


AddressBooks = Mapping[str, AddressBook]
"""By user id; empty ones are missing."""


class SaveAddress(Struct, frozen=True, kw_only=True):
    """Add the address, or replace the one of this name unless it `must_be_new`."""

    user_id: AddressBookId
    name: str
    address: Address
    must_be_new: bool = False


class RemoveAddress(Struct, frozen=True, kw_only=True):
    user_id: AddressBookId
    name: str


Command = SaveAddress | RemoveAddress


def decide(books: AddressBooks, command: Command) -> list[Event]:
    """Raises Rejected: `address-exists`, `address-book-full`, `unknown-address`."""
    addresses = addresses_of(books, command.user_id)
    name, address = command.name, addresses.get(command.name)
    match command:
        case RemoveAddress() if address is None:
            raise unknown_address(name)
        case RemoveAddress():
            return [AddressRemoved(user_id=command.user_id, name=name)]
        case SaveAddress(must_be_new=True) if address:
            raise Rejected("address-exists", f"there is an address {name} already")
        case SaveAddress() if address is None and len(addresses) >= MAX_ADDRESSES:
            detail = f"an address book holds {MAX_ADDRESSES} addresses at most"
            raise Rejected("address-book-full", detail)
        case SaveAddress():
            saved = AddressSaved(user_id=command.user_id, name=name, address=command.address)
            return [] if address == command.address else [saved]


def book_address(books: AddressBooks, reference: BookAddress) -> Address:
    """Raises Rejected: `address-not-in-book`."""
    address = addresses_of(books, reference.user_id).get(reference.name)
    if address is None:
        raise Rejected("address-not-in-book", f"there is no address {reference.name}")
    return address


def addresses_of(books: AddressBooks, user_id: str) -> Mapping[str, Address]:
    book = books.get(user_id)
    return book.addresses if book else {}


def unknown_address(name: str) -> Rejected:
    return Rejected("unknown-address", f"there is no address {name}")


def evolve(books: AddressBooks, recorded: RecordedEvent) -> AddressBooks:
    """The address books after an event of the order service."""
    match recorded.event:
        case AddressSaved(user_id=user_id, name=name, address=address):
            addresses = {**addresses_of(books, user_id), name: address}
        case AddressRemoved(user_id=user_id, name=name):
            addresses = {**addresses_of(books, user_id)}
            del addresses[name]
        case _:
            return books
    book = AddressBook(user_id=user_id, addresses=addresses)
    others = {owner: other for owner, other in books.items() if owner != user_id}
    return {**others, user_id: book} if addresses else others
