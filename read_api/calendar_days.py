"""Local days of any place on earth, as stretches of time: an hour longer or shorter when its clocks are changed."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.messages import clock

MAX_DAYS = 366
USUAL_DAYS = 30
EARLIEST = date(1970, 2, 1)
LATEST = date(9998, 12, 31)


class LocalDay(NamedTuple):
    """From `begins` until before `ends`; nothing where a place has skipped the day."""

    day: date
    begins: datetime
    ends: datetime


def time_zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name; raises BadRequest."""
    if name not in _names():
        wrong = "expected an IANA time zone, e.g. Asia/Tokyo"
        raise BadRequest(FieldError(field="timezone", message=wrong))
    return ZoneInfo(name)


def today(zone: ZoneInfo) -> LocalDay:
    """The day that it is there now."""
    return local_day(clock.now().astimezone(zone).date(), zone)


def days(first: date | None, last: date | None, zone: ZoneInfo) -> list[LocalDay]:
    """All days from `first` to `last`, both included; by default thirty, until today. Raises BadRequest."""
    for field, given in (("from", first), ("to", last)):
        if given and not EARLIEST <= given <= LATEST:
            raise BadRequest(FieldError(field=field, message=f"expected {EARLIEST} to {LATEST}"))
    until = last or (first + timedelta(days=USUAL_DAYS - 1) if first else today(zone).day)
    since = first or until - timedelta(days=USUAL_DAYS - 1)
    number = (until - since).days + 1
    if not 1 <= number <= MAX_DAYS:
        wrong = f"expected 1 to {MAX_DAYS} days, and the first one first"
        raise BadRequest(FieldError(field="to", message=wrong))
    return [local_day(since + timedelta(days=each), zone) for each in range(number)]


def local_day(day: date, zone: ZoneInfo) -> LocalDay:
    """The day there."""
    return LocalDay(day, _midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


@cache
def _names() -> set[str]:
    return available_timezones()
