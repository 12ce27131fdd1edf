"""The trust rules of signing keys: pinning, vouching, revocation, in any order of arrival."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.chassis.http.key_trust import (
    MAX_UNPROVEN,
    KeyEvent,
    KeyRing,
    PublishedKey,
    Trust,
    distrust,
    learn,
    objection,
    voucher_statement,
)
from shared.chassis.messages.identity_events import SigningKeyPublished
from tests.support.access import Issuer

FIRST, SECOND, THIRD, FORGER = Issuer(), Issuer(), Issuer(), Issuer()


def ring_of(*events: KeyEvent) -> KeyRing:
    ring = KeyRing()
    for event in events:
        ring = learn(ring, event)
    return ring


def trusted(ring: KeyRing) -> set[str]:
    return {key.key_id for key in ring.keys.values() if key.trust is Trust.TRUSTED}


def unproven(ring: KeyRing) -> int:
    return sum(not revocation.is_proven for revocation in ring.revocations.values())


def test_first_key_is_pinned():
    assert trusted(ring_of(FIRST.published)) == {FIRST.key_id}


def test_second_key_without_voucher_is_not_trusted():
    ring = ring_of(FIRST.published, FORGER.published)
    assert trusted(ring) == {FIRST.key_id}
    assert objection(ring, FORGER.published) == "no key vouches for it, and another key is pinned"


def test_key_signed_by_trusted_key_is_trusted():
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), THIRD.vouched_by(SECOND))
    assert trusted(ring) == {FIRST.key_id, SECOND.key_id, THIRD.key_id}
    assert objection(ring, THIRD.vouched_by(SECOND)) is None


def test_key_with_borrowed_signature_is_not_trusted():
    stolen = replace(FORGER.published, vouched_by=FIRST.key_id)
    borrowed = replace(stolen, signature=SECOND.vouched_by(FIRST).signature)
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), borrowed)
    assert trusted(ring) == {FIRST.key_id, SECOND.key_id}
    assert objection(ring, borrowed) == "its voucher is wrong"


def test_forged_voucher_for_genuine_id_is_not_trusted():
    forged = replace(FORGER.vouched_by(FIRST), key_id=SECOND.key_id)
    ring = ring_of(FIRST.published, forged, SECOND.vouched_by(FIRST))
    assert ring.trusted(SECOND.key_id).public_key == SECOND.published.public_key


def test_second_key_with_trusted_id_is_untrusted():
    claim = replace(FORGER.published, key_id=FIRST.key_id)
    ring = ring_of(FIRST.published, claim)
    assert ring.trusted(FIRST.key_id).public_key == FIRST.published.public_key
    assert objection(ring, claim) == "a trusted key has the same id"


def test_voucher_for_second_key_is_invalid():
    statement = voucher_statement(FIRST.key_id, FORGER.published.public_key)
    claim = replace(
        FORGER.published,
        key_id=FIRST.key_id,
        vouched_by=SECOND.key_id,
        signature=SECOND.sign(statement),
    )
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), claim)
    assert len([key for key in ring.keys.values() if key.trust is Trust.TRUSTED]) == 2


def test_key_that_vouches_for_itself_is_not_trusted():
    assert trusted(ring_of(FIRST.published, FORGER.vouched_by(FORGER))) == {FIRST.key_id}


def test_vouched_key_is_kept_but_not_pinned():
    ring = ring_of(SECOND.vouched_by(FIRST))
    assert trusted(ring) == set()
    assert trusted(learn(ring, FIRST.published)) == {FIRST.key_id, SECOND.key_id}


def test_vouched_key_may_arrive_before_vouching_key():
    ring = ring_of(FIRST.published, THIRD.vouched_by(SECOND), SECOND.vouched_by(FIRST))
    assert trusted(ring) == {FIRST.key_id, SECOND.key_id, THIRD.key_id}


def test_revoked_key_is_never_trusted_again():
    revocation = SECOND.revoke(FIRST.key_id)
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), revocation, FIRST.published)
    ring = learn(ring, FIRST.vouched_by(SECOND))
    assert trusted(ring) == {SECOND.key_id}
    assert ring.is_revoked(FIRST.key_id)


def test_revoked_key_vouches_for_no_other():
    revocation = SECOND.revoke(FIRST.key_id)
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), revocation, FORGER.vouched_by(FIRST))
    assert trusted(ring) == {SECOND.key_id}


def test_key_may_be_revoked_before_it_arrives():
    ring = ring_of(FIRST.published, FIRST.revoke(SECOND.key_id), SECOND.vouched_by(FIRST))
    assert trusted(ring) == {FIRST.key_id}


@pytest.mark.parametrize(
    "revocation",
    [
        FIRST.revoke(FIRST.key_id),
        FORGER.revoke(FIRST.key_id),
        replace(SECOND.revoke(THIRD.key_id), key_id=FIRST.key_id),
        replace(FORGER.revoke(FIRST.key_id), revoked_by=SECOND.key_id),
    ],
    ids=["its own", "a stranger's", "of another key", "under another name"],
)
def test_unproven_revocation_revokes_nothing(revocation):
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), revocation)
    assert trusted(ring) == {FIRST.key_id, SECOND.key_id}
    assert objection(ring, revocation)


def test_untrusted_keys_are_bounded():
    ring = ring_of(FIRST.published, *(Issuer().published for _ in range(MAX_UNPROVEN + 5)))
    assert len(ring.keys) == MAX_UNPROVEN + 1
    assert SECOND.key_id in trusted(learn(ring, SECOND.vouched_by(FIRST)))


def test_unproven_revocations_are_bounded():
    strangers = (Issuer().revoke(FIRST.key_id) for _ in range(MAX_UNPROVEN + 5))
    ring = ring_of(FIRST.published, SECOND.vouched_by(FIRST), *strangers)
    assert unproven(ring) == MAX_UNPROVEN
    assert trusted(learn(ring, SECOND.revoke(FIRST.key_id))) == {SECOND.key_id}


def test_forged_key_is_kept_but_never_trusted():
    ring = distrust(KeyRing(), FORGER.published)
    assert [key.trust for key in ring.keys.values()] == [Trust.UNTRUSTED]
    assert trusted(learn(ring, FIRST.published)) == {FIRST.key_id}


def test_malformed_row_verifies_nothing():
    row = PublishedKey(key_id=FIRST.key_id, public_key="none", trust=Trust.TRUSTED)
    ring = KeyRing(keys={(FIRST.key_id, "none"): row})
    assert trusted(learn(ring, SECOND.vouched_by(FIRST))) == {FIRST.key_id}


def history_of(seed: int, steps: Iterable[str]) -> tuple[list[KeyEvent], set[str]]:
    """What an order service publishes, first its first key, and which of its keys remain good."""
    random = Random(seed)
    current = Issuer()
    published: list[SigningKeyPublished] = [current.published]
    good = {current.key_id}
    revoked: set[str] = set()
    events: list[KeyEvent] = [*published]
    for step in steps:
        if step == "revoke" and len(good) > 1:
            key_id = random.choice(sorted(good - {current.key_id}))
            good.discard(key_id)
            revoked.add(key_id)
            events.append(current.revoke(key_id))
        else:
            following = Issuer()
            published.append(following.vouched_by(current))
            events.append(published[-1])
            current = following
            good.add(current.key_id)
    announced = [*published, *(current.revoke(key_id) for key_id in revoked)]
    return [*events, *announced], good


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(["rotate", "revoke"]), max_size=6),
    st.data(),
)
def test_keys_are_trusted_in_any_arrival_order(seed: int, steps: list[str], data: st.DataObject):
    genuine, good = history_of(seed, steps)
    forged: list[KeyEvent] = [
        FORGER.published,
        FORGER.revoke(genuine[0].key_id),
        replace(FORGER.vouched_by(FORGER), vouched_by=genuine[0].key_id),
    ]
    first, *others = genuine
    arriving = [first, *data.draw(st.permutations([*others, *forged]))]
    assert trusted(ring_of(*arriving)) == good
