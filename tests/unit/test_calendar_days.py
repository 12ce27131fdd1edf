"""Local days: their length follows the time zone, and consecutive days leave no gap."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from read_api.calendar_days import MAX_DAYS, days, local_day, time_zone, today
from shared.chassis.http.problems import BadRequest

PLACES = ("Asia/Tokyo", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")


def test_tokyo_day_starts_nine_hours_before_utc() -> None:
    local = local_day(date(2026, 11, 20), time_zone("Asia/Tokyo"))
    assert local.starts == datetime(2026, 11, 19, 15, tzinfo=UTC)
    assert local.ends == datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "day", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_day_length_follows_clock_changes(place: str, day: date, hours: float) -> None:
    local = local_day(day, time_zone(place))
    assert local.ends - local.starts == timedelta(hours=hours)


@given(
    st.dates(date(1970, 2, 1), date(2037, 1, 1)), st.integers(1, MAX_DAYS), st.sampled_from(PLACES)
)
def test_consecutive_days_have_no_gap(first: date, number: int, place: str) -> None:
    listed = days(first, first + timedelta(days=number - 1), ZoneInfo(place))
    assert len(listed) == number
    assert all(one.ends == next_one.starts for one, next_one in pairwise(listed))


def test_default_range_is_thirty_days_until_today() -> None:
    zone = time_zone("UTC")
    listed = days(None, None, zone)
    assert (len(listed), listed[-1]) == (30, today(zone))
    assert len(days(date(2026, 1, 1), None, zone)) == 30
    assert days(None, date(2026, 1, 30), zone)[0].day == date(2026, 1, 1)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 1, 2), date(2026, 1, 1)),
        (date(2026, 1, 1), date(2027, 1, 2)),
        (date.min, date.min),
        (date.max, date.max),
        (date.max, None),
        (None, date.min),
    ],
)
def test_invalid_range_of_days_is_refused(first: date | None, last: date | None) -> None:
    with pytest.raises(BadRequest):
        days(first, last, time_zone("Asia/Tokyo"))


@pytest.mark.parametrize(
    "name", ["", "Tokyo", "Asia", "Asia/Tokyo\0", "../etc/passwd", "/etc/localtime", "leapseconds"]
)
def test_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="timezone"):
        time_zone(name)
