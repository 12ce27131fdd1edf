"""One customer to an address."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.accounts.domain import RegisterCustomer, UpdateCustomer
from order_service.domain import Command, OrderState, decide, evolve
from shared.chassis.messages.event import Event
from shared.chassis.messages.rejection import Rejected
from shared.contracts import CustomerRegistered, CustomerUpdated
from tests.support.history import fold

AIKO = CustomerRegistered(user_id="aiko", email="aiko@example.com", name="Aiko", locale="ja")
BEN = CustomerRegistered(user_id="ben", email="ben@example.com")


def after(*events: Event) -> OrderState:
    return fold(evolve, OrderState(), *events)


def refusal(state: OrderState, command: Command) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decide(state, command)
    return caught.value


def test_registration_creates_a_customer():
    command = RegisterCustomer(user_id="aiko", email="aiko@example.com", name="Aiko", locale="ja")
    assert decide(OrderState(), command) == [AIKO]
    customer = after(AIKO).customers["aiko"]
    assert (customer.role, customer.email, customer.name) == ("customer", AIKO.email, "Aiko")
    assert customer.created_at == customer.updated_at


def test_registration_with_taken_address_is_rejected():
    refused = refusal(after(AIKO), RegisterCustomer(user_id="eve", email="aiko@example.com"))
    assert refused.code == "email-taken"


def test_repeated_registration_records_nothing():
    assert decide(after(AIKO), RegisterCustomer(user_id="aiko", email="aiko@example.com")) == []


def test_profile_update_records_all_fields():
    (updated,) = decide(after(AIKO), UpdateCustomer(user_id="aiko", name="Aiko T."))
    assert updated == CustomerUpdated(
        user_id="aiko", email="aiko@example.com", name="Aiko T.", locale="ja"
    )
    customer = after(AIKO, updated).customers["aiko"]
    assert customer.name == "Aiko T."
    assert customer.created_at < customer.updated_at


@pytest.mark.parametrize("change", [{}, {"name": "Aiko"}, {"email": "aiko@example.com"}])
def test_unchanged_profile_update_records_nothing(change: dict[str, str]):
    assert decide(after(AIKO), UpdateCustomer(user_id="aiko", **change)) == []


def test_profile_update_to_taken_address_is_rejected():
    refused = refusal(after(AIKO, BEN), UpdateCustomer(user_id="ben", email="aiko@example.com"))
    assert refused.code == "email-taken"


def test_released_address_can_be_registered_again():
    moved = CustomerUpdated(user_id="aiko", email="new@example.com")
    command = RegisterCustomer(user_id="eve", email="aiko@example.com")
    assert len(decide(after(AIKO, moved), command)) == 1


def test_update_of_unknown_customer_is_rejected():
    refused = refusal(OrderState(), UpdateCustomer(user_id="nobody", name="Nobody"))
    assert refused.code == "unknown-customer"


def test_profile_update_keeps_role():
    boss = CustomerRegistered(user_id="boss", email="boss@example.com", role="admin")
    (updated,) = decide(after(boss), UpdateCustomer(user_id="boss", name="Boss"))
    assert after(boss, updated).customers["boss"].role == "admin"


USERS = st.sampled_from(["u1", "u2", "u3"])
EMAILS = st.sampled_from(["a@example.com", "b@example.com", "c@example.com"])
COMMANDS = st.one_of(
    st.builds(RegisterCustomer, user_id=USERS, email=EMAILS),
    st.builds(
        UpdateCustomer,
        user_id=USERS,
        email=st.none() | EMAILS,
        name=st.none() | st.sampled_from(["A", "B"]),
    ),
)


@given(st.lists(COMMANDS, max_size=30))
def test_address_has_one_owner_after_any_commands(commands: list[Any]):
    state, log = OrderState(), list[Event]()
    for command in commands:
        try:
            events = decide(state, command)
        except Rejected:
            continue
        state, log = fold(evolve, state, *events), [*log, *events]
        assert decide(state, command) == []
    emails = [customer.email for customer in state.customers.values()]
    assert len(emails) == len(set(emails))
    emails_and_names = {
        name: (customer.email, customer.name) for name, customer in state.customers.items()
    }
    refolded = fold(evolve, OrderState(), *log).customers
    assert {
        name: (customer.email, customer.name) for name, customer in refolded.items()
    } == emails_and_names
