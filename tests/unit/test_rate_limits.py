import pytest

from shared.chassis.http.rate_limits import (
    AT_ONCE,
    DAY,
    HOUR,
    MAX_KEYS,
    Limit,
    Limiter,
    Rate,
    RateLimited,
    parse,
)
from shared.chassis.messages.rejection import Rejected

REGISTRATIONS, STREAMS = Limit.REGISTRATIONS_PER_ADDRESS, Limit.STREAMS_PER_ADDRESS
TWO_A_DAY = "registrations_per_address=2/day"


def is_refused(limiter: Limiter, *uses: tuple[Limit, str]) -> bool:
    try:
        limiter.take(*uses)
    except Rejected:
        return True
    return False


def uses_until_refused(limiter: Limiter, limit: Limit, key: str) -> int:
    number = 0
    while not is_refused(limiter, (limit, key)):
        number += 1
    return number


@pytest.mark.parametrize("limit", [limit for limit in Limit if limit.rate.seconds != AT_ONCE])
def test_allowance_of_each_limit_is_its_number(limit: Limit):
    limiter = Limiter()
    number = uses_until_refused(limiter, limit, "here")
    assert limit.rate.number <= number <= limit.rate.number + 1


def test_rejected_use_has_retry_after():
    limiter = Limiter(TWO_A_DAY)
    uses_until_refused(limiter, REGISTRATIONS, "here")
    with pytest.raises(RateLimited) as caught:
        limiter.take((REGISTRATIONS, "here"))
    assert caught.value.code == "too-many-requests"
    assert 0 < caught.value.retry_after_seconds <= DAY / 2
    assert caught.value.extra == {"limit": "registrations_per_address"}


def test_allowance_refills_evenly(monkeypatch: pytest.MonkeyPatch):
    moment = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: moment)
    limiter = Limiter(TWO_A_DAY)
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 2
    moment += DAY / 2
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 1
    moment += 10 * DAY
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 2


def test_each_key_has_its_own_allowance():
    limiter = Limiter(TWO_A_DAY)
    uses_until_refused(limiter, REGISTRATIONS, "here")
    assert uses_until_refused(limiter, REGISTRATIONS, "there") == 2


def test_uses_are_taken_all_or_none():
    limiter = Limiter(TWO_A_DAY)
    uses_until_refused(limiter, REGISTRATIONS, "here")
    orders = (Limit.ORDERS_PER_RECIPIENT, "jane")
    assert is_refused(limiter, orders, (REGISTRATIONS, "here"))
    assert uses_until_refused(limiter, *orders) == Limit.ORDERS_PER_RECIPIENT.rate.number


def test_returned_use_does_not_count():
    limiter = Limiter(TWO_A_DAY)
    limiter.take((REGISTRATIONS, "here"))
    limiter.give_back((REGISTRATIONS, "here"))
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 2


def test_forgotten_key_has_its_whole_allowance():
    limiter = Limiter(TWO_A_DAY)
    uses_until_refused(limiter, REGISTRATIONS, "here")
    limiter.reset((REGISTRATIONS, "here"))
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 2


def test_check_counts_nothing():
    limiter = Limiter(TWO_A_DAY)
    for _ in range(5):
        limiter.check((REGISTRATIONS, "here"))
    assert uses_until_refused(limiter, REGISTRATIONS, "here") == 2


def test_memory_is_bounded_by_dropping_oldest_keys():
    limiter = Limiter("registrations_per_address=1/day")
    for number in range(MAX_KEYS + 1):
        limiter.take((REGISTRATIONS, str(number)))
    assert len(limiter._full_at[REGISTRATIONS]) == MAX_KEYS
    assert not is_refused(limiter, (REGISTRATIONS, "0"))
    assert is_refused(limiter, (REGISTRATIONS, str(MAX_KEYS)))


def test_slot_is_free_after_release():
    limiter = Limiter("streams_per_address=1")
    for _ in range(2):
        with limiter.slot(STREAMS, "here"):
            with pytest.raises(Rejected), limiter.slot(STREAMS, "here"):
                pass
            with limiter.slot(STREAMS, "there"):
                pass
    assert not limiter._open


def test_off_disables_all_limits():
    limiter = Limiter("off")
    for _ in range(10_000):
        limiter.take((REGISTRATIONS, "here"), (Limit.ORDERS_PER_RECIPIENT, "jane"))
    assert not any(limiter._full_at.values())


@pytest.mark.parametrize(
    ("setting", "limit", "rate"),
    [
        ("", REGISTRATIONS, Rate(20, HOUR)),
        ("registrations_per_address=7/minute", REGISTRATIONS, Rate(7, 60)),
        ("registrations_per_address=7/5minutes", REGISTRATIONS, Rate(7, 300)),
        (" streams_per_address = 3 , registrations_per_address=off", STREAMS, Rate(3, AT_ONCE)),
        (" streams_per_address = 3 , registrations_per_address=off", REGISTRATIONS, None),
        ("off", STREAMS, None),
    ],
)
def test_setting_changes_named_rows(setting: str, limit: Limit, rate: Rate | None):
    assert parse(setting)[limit] == rate


@pytest.mark.parametrize(
    "setting",
    [
        "on",
        "registrations=1/hour",
        "registrations_per_address",
        "registrations_per_address=0/hour",
        "registrations_per_address=1.5/hour",
        "registrations_per_address=10/fortnight",
        "registrations_per_address=10",
        "streams_per_address=10/hour",
    ],
)
def test_invalid_setting_is_refused(setting: str):
    with pytest.raises(ValueError, match=setting.partition("=")[0]):
        parse(setting)
