"""One customer to an address."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order_service.accounts.domain import (
    MAX_LINKS,
    ChangeEmail,
    ChangePassword,
    ChangeRole,
    LinkOrder,
    RegisterCustomer,
    RequestVerification,
    ResetPassword,
    UpdateCustomer,
    VerifyEmail,
)
from order_service.domain import Command, OrderState, decide, evolve
from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import TokensRevoked
from shared.chassis.messages.rejection import Rejected, bad_link
from shared.chassis.testing import START
from shared.contracts import (
    CustomerEmailChanged,
    CustomerEmailVerified,
    CustomerPasswordChanged,
    CustomerRegistered,
    CustomerRoleChanged,
    CustomerUpdated,
    EmailVerificationRequested,
    PasswordResetRequested,
    Role,
)
from tests.support.history import fold

AIKO = CustomerRegistered(user_id="aiko", email="aiko@example.com", name="Aiko", locale="ja")
BEN = CustomerRegistered(user_id="ben", email="ben@example.com")
BOSS = CustomerRegistered(user_id="boss", email="boss@example.com", role="admin")
LATER = START + timedelta(days=1)
LINK = LinkOrder(request_id="r1", expires_at=LATER)
RESET = ResetPassword(user_id="aiko", request_id="r1", now=START)
VERIFY = VerifyEmail(user_id="aiko", request_id="r1", now=START)


def reset_of(customer: CustomerRegistered, request_id: str = "r1") -> PasswordResetRequested:
    return PasswordResetRequested(
        user_id=customer.user_id,
        request_id=request_id,
        email=customer.email,
        locale=customer.locale,
        expires_at=LATER,
    )


def verification_of(
    user_id: str, email: str, locale: str | None, request_id: str = "r1"
) -> EmailVerificationRequested:
    return EmailVerificationRequested(
        user_id=user_id, request_id=request_id, email=email, locale=locale, expires_at=LATER
    )


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


@pytest.mark.parametrize("change", [{}, {"name": "Aiko"}, {"locale": "ja"}])
def test_unchanged_profile_update_records_nothing(change: dict[str, str]):
    assert decide(after(AIKO), UpdateCustomer(user_id="aiko", **change)) == []


def change_email(email: str, user_id: str = "aiko", **fields: Any) -> ChangeEmail:
    return ChangeEmail(
        user_id=user_id, email=email, verification=LINK, **{"token_version": 0, **fields}
    )


def test_changed_address_must_be_verified_again():
    log = [AIKO, CustomerEmailVerified(user_id="aiko", email=AIKO.email), reset_of(AIKO)]
    events = decide(after(*log), change_email("new@example.com", name="Ai"))
    assert events == [
        CustomerUpdated(user_id="aiko", email="new@example.com", name="Ai", locale="ja"),
        CustomerEmailChanged(
            user_id="aiko", previous_email=AIKO.email, email="new@example.com", locale="ja"
        ),
        verification_of("aiko", "new@example.com", "ja"),
        TokensRevoked(user_id="aiko", token_version=1),
    ]
    customer = after(*log, *events).customers["aiko"]
    assert not customer.email_verified
    assert [link.kind for link in customer.links] == ["email-verification"]
    assert customer.token_version == 1


def test_change_to_same_address_ends_no_session():
    assert decide(after(AIKO), change_email(AIKO.email)) == []
    (updated,) = decide(after(AIKO), change_email(AIKO.email, name="Ai"))
    assert isinstance(updated, CustomerUpdated)


def test_change_to_taken_address_is_rejected():
    refused = refusal(after(AIKO, BEN), change_email("aiko@example.com", "ben"))
    assert refused.code == "email-taken"


@pytest.mark.parametrize(
    "command",
    [
        change_email("new@example.com"),
        ChangePassword(user_id="aiko", token_version=0),
    ],
    ids=lambda command: type(command).__name__,
)
def test_change_with_outdated_password_is_rejected(command: Command):
    changed = decide(after(AIKO), ChangePassword(user_id="aiko", token_version=0))
    assert refusal(after(AIKO, *changed), command).code == "wrong-password"


def test_password_change_revokes_tokens():
    assert decide(after(AIKO), ChangePassword(user_id="aiko", token_version=0)) == [
        CustomerPasswordChanged(user_id="aiko", email=AIKO.email, locale="ja"),
        TokensRevoked(user_id="aiko", token_version=1),
    ]


def test_reset_link_sets_password_once_and_verifies_address():
    state = after(AIKO, reset_of(AIKO))
    events = decide(state, RESET)
    assert events == [
        CustomerEmailVerified(user_id="aiko", email=AIKO.email),
        CustomerPasswordChanged(user_id="aiko", email=AIKO.email, locale="ja"),
        TokensRevoked(user_id="aiko", token_version=1),
    ]
    assert refusal(fold(evolve, state, *events), RESET).code == "bad-link"


def test_password_change_ends_all_reset_links():
    log = [AIKO, reset_of(AIKO), reset_of(AIKO, "r2")]
    changed = decide(after(*log), ChangePassword(user_id="aiko", token_version=0))
    for request_id in ("r1", "r2"):
        command = replace(RESET, request_id=request_id)
        assert refusal(after(*log, *changed), command).code == "bad-link"


def test_verification_link_is_used_once():
    state = after(AIKO, verification_of("aiko", AIKO.email, "ja"))
    events = decide(state, VERIFY)
    assert events == [CustomerEmailVerified(user_id="aiko", email=AIKO.email)]
    assert refusal(fold(evolve, state, *events), VERIFY).code == "bad-link"


def test_verified_address_gets_no_further_link():
    command = RequestVerification(user_id="aiko", link=LINK)
    assert decide(after(AIKO), command) == [verification_of("aiko", AIKO.email, "ja")]
    verified = CustomerEmailVerified(user_id="aiko", email=AIKO.email)
    assert decide(after(AIKO, verified), command) == []


@pytest.mark.parametrize(
    "command",
    [
        ResetPassword(user_id="aiko", request_id="r1", now=LATER),
        ResetPassword(user_id="aiko", request_id="other", now=START),
        ResetPassword(user_id="ben", request_id="r1", now=START),
        ResetPassword(user_id="nobody", request_id="r1", now=START),
        VerifyEmail(user_id="aiko", request_id="r1", now=START),
        VerifyEmail(user_id="aiko", request_id="v1", now=LATER),
        VerifyEmail(user_id="nobody", request_id="v1", now=START),
    ],
    ids=str,
)
def test_unusable_links_are_rejected_alike(command: Command):
    state = after(AIKO, BEN, reset_of(AIKO), verification_of("aiko", AIKO.email, "ja", "v1"))
    refused = refusal(state, command)
    assert (refused.code, refused.detail) == ("bad-link", bad_link().detail)


def test_links_of_a_customer_are_bounded():
    resets = [reset_of(AIKO, f"r{number}") for number in range(MAX_LINKS + 5)]
    links = after(AIKO, *resets).customers["aiko"].links
    assert [link.request_id for link in links] == [f"r{number}" for number in range(5, 15)]


def test_registration_requests_verification_of_its_address():
    command = RegisterCustomer(
        user_id="aiko", email=AIKO.email, name="Aiko", locale="ja", verification=LINK
    )
    assert decide(OrderState(), command) == [AIKO, verification_of("aiko", AIKO.email, "ja")]


def role(role: Role, user_id: str = "aiko", by: str = "boss", **fields: bool) -> ChangeRole:
    return ChangeRole(user_id=user_id, role=role, changed_by=by, **fields)


VERIFIED = CustomerEmailVerified(user_id="aiko", email=AIKO.email)


def test_admin_gives_and_takes_a_role():
    assert decide(after(AIKO, BOSS, VERIFIED), role("operator")) == [
        CustomerRoleChanged(user_id="aiko", role="operator"),
        TokensRevoked(user_id="aiko", token_version=1),
    ]
    operator = after(AIKO, BOSS, CustomerRoleChanged(user_id="aiko", role="operator"))
    assert operator.customers["aiko"].role == "operator"
    assert decide(operator, role("operator")) == []
    taken, _ = decide(operator, role("customer"))
    assert taken == CustomerRoleChanged(user_id="aiko", role="customer")


def test_role_for_unverified_address_is_rejected():
    assert refusal(after(AIKO, BOSS), role("admin")).code == "email-not-verified"
    assert decide(after(AIKO, BOSS), role("admin", even_if_unverified=True))
    assert decide(after(AIKO, BOSS), role("customer")) == []


def test_own_role_cannot_be_changed():
    assert refusal(after(BOSS), role("customer", "boss")).code == "own-role"
    assert decide(after(BOSS), role("admin", "boss")) == []


@pytest.mark.parametrize("by", ["aiko", "nobody"])
def test_role_change_by_former_admin_is_rejected(by: str):
    promoted = CustomerRoleChanged(user_id="aiko", role="admin")
    demoted = CustomerRoleChanged(user_id="aiko", role="customer")
    state = after(AIKO, BEN, BOSS, promoted, demoted)
    assert refusal(state, role("admin", "ben", by)).code == "not-admin"


def test_released_address_can_be_registered_again():
    moved = CustomerUpdated(user_id="aiko", email="new@example.com")
    command = RegisterCustomer(user_id="eve", email="aiko@example.com")
    assert len(decide(after(AIKO, moved), command)) == 1


def test_update_of_unknown_customer_is_rejected():
    refused = refusal(OrderState(), UpdateCustomer(user_id="nobody", name="Nobody"))
    assert refused.code == "unknown-customer"


def test_profile_update_keeps_role():
    (updated,) = decide(after(BOSS), UpdateCustomer(user_id="boss", name="Boss"))
    assert after(BOSS, updated).customers["boss"].role == "admin"


USERS = st.sampled_from(["u1", "u2", "u3"])
EMAILS = st.sampled_from(["a@example.com", "b@example.com", "c@example.com"])
COMMANDS = st.one_of(
    st.builds(RegisterCustomer, user_id=USERS, email=EMAILS),
    st.builds(UpdateCustomer, user_id=USERS, name=st.none() | st.sampled_from(["A", "B"])),
    st.builds(
        ChangeEmail,
        user_id=USERS,
        token_version=st.integers(0, 2),
        email=EMAILS,
        verification=st.just(LINK),
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
