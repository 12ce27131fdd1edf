"""Ids: UUIDv7 whose 74 random bits are random in every id."""

from itertools import pairwise
from uuid import RFC_4122, UUID

from shared.chassis.messages import clock

MANY = 20_000
FIXED_BITS = {*range(76, 80), 62, 63}
RANDOM_BITS = [bit for bit in range(80) if bit not in FIXED_BITS]


def ids() -> list[UUID]:
    return [UUID(clock.new_id()) for _ in range(MANY)]


def test_id_is_unique_uuid_of_version_7():
    made = ids()
    assert len(set(made)) == MANY
    assert {uuid.version for uuid in made} == {7}
    assert {uuid.variant for uuid in made} == {RFC_4122}


def test_id_starts_with_milliseconds_and_sorts():
    before = int(clock.now().timestamp() * 1000)
    made = ids()
    after = int(clock.now().timestamp() * 1000)
    milliseconds = [uuid.int >> 80 for uuid in made]
    assert milliseconds == sorted(milliseconds)
    assert before <= milliseconds[0] <= milliseconds[-1] <= after


def test_every_random_bit_flips_half_the_time():
    made = [uuid.int for uuid in ids()]
    for bit in RANDOM_BITS:
        ones = sum(value >> bit & 1 for value in made)
        flips = sum((one ^ other) >> bit & 1 for one, other in pairwise(made))
        # 495 is seven standard deviations of 20,000 coin tosses.
        assert abs(ones - MANY / 2) < 495, bit
        assert abs(flips - MANY / 2) < 495, bit
    assert len(RANDOM_BITS) == 74


def test_ids_of_one_millisecond_share_no_prefix():
    """A counter would leave neighbours a small difference in the 42 bits behind the time."""
    made = ids()
    close = [
        one
        for one, other in pairwise(made)
        if one.int >> 80 == other.int >> 80 and abs((one.int >> 38) - (other.int >> 38)) < 1000
    ]
    assert close == []
