"""Local days of a time zone as spans of time: an hour longer or shorter when its clocks change."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.messages import clock

MAX_DAYS = 366
DEFAULT_DAYS = 30
EARLIEST = date(1970, 2, 1)
LATEST = date(9998, 12, 31)


class LocalDay(NamedTuple):
    """From `starts` until before `ends`; empty if the time zone skipped the day."""

    day: date
    starts: datetime
    ends: datetime


def time_zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name; raises BadRequest."""
    if name not in _names():
        message = "expected an IANA time zone, e.g. Asia/Tokyo"
        raise BadRequest(FieldError(field="timezone", message=message))
    return ZoneInfo(name)


def today(zone: ZoneInfo) -> LocalDay:
    """The day of the current time in the zone."""
    return local_day(clock.now().astimezone(zone).date(), zone)


def days(first: date | None, last: date | None, zone: ZoneInfo) -> list[LocalDay]:
    """All days from `first` to `last`, both included; by default thirty, the last one today. Raises BadRequest."""
    for field, day in (("from", first), ("to", last)):
        if day and not EARLIEST <= day <= LATEST:
            raise BadRequest(FieldError(field=field, message=f"expected {EARLIEST} to {LATEST}"))
    until = last or (first + timedelta(days=DEFAULT_DAYS - 1) if first else today(zone).day)
    since = first or until - timedelta(days=DEFAULT_DAYS - 1)
    count = (until - since).days + 1
    if not 1 <= count <= MAX_DAYS:
        message = f"expected 1 to {MAX_DAYS} days, and the first one first"
        raise BadRequest(FieldError(field="to", message=message))
    return [local_day(since + timedelta(days=number), zone) for number in range(count)]


def local_day(day: date, zone: ZoneInfo) -> LocalDay:
    """The day from midnight to midnight in the zone."""
    return LocalDay(day, _midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


@cache
def _names() -> set[str]:
    return available_timezones()
