"""Rate limits: one table, counted in this process's memory; a restart resets the counts.

Each key (an address, an account, a recipient) starts with its whole allowance, which refills evenly (GCRA): ten in
five minutes are ten at once, and one more every thirty seconds. So a key takes one number, for any rate.
"""

import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, unique
from typing import NamedTuple

from shared.chassis.messages.rejection import Rejected

MAX_KEYS = 10_000
"""Per limit. The least recently used key is dropped, so that many addresses cannot fill the memory."""

ROUNDING_SECONDS = 1e-3

OFF = "off"
AT_ONCE = 0
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400

_UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_RATE = re.compile(r"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,4})?(second|minute|hour|day)s?)?")


class Rate(NamedTuple):
    """A number of uses within a time; with `AT_ONCE` the number that may be open at the same time."""

    number: int
    seconds: int


@unique
class Limit(Enum):
    """The table. The setting `QUADRILLE_RATE_LIMITS` changes a row by its name in lower case."""

    REGISTRATIONS_PER_ADDRESS = 20, HOUR, "registrations from this address"
    REGISTRATIONS_PER_RECIPIENT = 5, HOUR, "registrations of this mailbox"
    SIGN_IN_FAILURES_PER_ACCOUNT_AND_ADDRESS = 10, 5 * MINUTE, "wrong passwords for this account from this address"  # fmt: skip
    SIGN_IN_FAILURES_PER_ADDRESS = 100, 5 * MINUTE, "wrong passwords from this address"
    SIGN_IN_FAILURES_PER_ACCOUNT = 1000, HOUR, "wrong passwords for this account"
    SIGN_INS_PER_ACCOUNT = 60, 5 * MINUTE, "sign-ins of this account"
    REFRESHES_PER_SESSION = 30, MINUTE, "refreshes of this session"
    REFRESHES_PER_ADDRESS = 600, MINUTE, "refreshes from this address"
    RESET_REQUESTS_PER_ADDRESS = 20, HOUR, "password resets from this address"
    RESET_REQUESTS_PER_RECIPIENT = 3, HOUR, "password resets for this e-mail address"
    VERIFICATION_REQUESTS_PER_CUSTOMER = 5, HOUR, "mails to verify this customer's address"
    LINK_USES_PER_ADDRESS = 60, HOUR, "links that were used from this address"
    CHANGES_PER_CUSTOMER = 300, 5 * MINUTE, "changes of this customer's cart and account"
    ORDERS_PER_CUSTOMER = 60, HOUR, "orders of this customer"
    GUEST_ORDERS_PER_ADDRESS = 200, HOUR, "guest orders from this address"
    ORDERS_PER_RECIPIENT = 20, DAY, "orders with mails to this recipient"
    RESENDS_PER_ORDER = 10, HOUR, "repeated mails of this order"
    NUDGES_PER_ORDER = 6, MINUTE, "nudges of this order"
    SEARCHES_PER_ADDRESS = 240, MINUTE, "searches from this address"
    EXPORTS_PER_CUSTOMER = 10, HOUR, "exports of this customer"
    STREAMS_PER_ADDRESS = 100, AT_ONCE, "open streams from this address"

    def __init__(self, number: int, seconds: int, description: str) -> None:
        self.rate = Rate(number, seconds)
        self.description = description


Use = tuple[Limit, str]
"""A limit, and the key that uses it."""


def parse(setting: str) -> dict[Limit, Rate | None]:
    """The rates with the setting's changes; None means unlimited.

    `off` lifts all limits; else rows separated by commas, as `guest_orders_per_address=500/hour`, `…=30/5minutes`,
    `streams_per_address=20` or `…=off`. Raises ValueError naming the row that is malformed.
    """
    if setting.strip() == OFF:
        return dict.fromkeys(Limit)
    rates: dict[Limit, Rate | None] = {limit: limit.rate for limit in Limit}
    for row in filter(None, map(str.strip, setting.split(","))):
        name, _, value = (part.strip() for part in row.partition("="))
        limit = Limit.__members__.get(name.upper())
        if limit is None:
            names = ", ".join(member.lower() for member in Limit.__members__)
            raise ValueError(f"{name!r} is not a limit; there are {names}")
        rates[limit] = None if value == OFF else _rate(limit, value)
    return rates


def _rate(limit: Limit, value: str) -> Rate:
    match = _RATE.fullmatch(value)
    is_at_once = limit.rate.seconds == AT_ONCE
    if not match or is_at_once != (match[3] is None):
        example = "20" if is_at_once else "100/hour or 30/5minutes"
        raise ValueError(f"{limit.name.lower()}: expected {OFF} or a rate such as {example}")
    seconds = AT_ONCE if is_at_once else int(match[2] or 1) * _UNITS[match[3]]
    return Rate(int(match[1]), seconds)


class RateLimited(Rejected):
    """One use too many; the next may succeed in `retry_after_seconds`."""

    def __init__(
        self, code: str, detail: str, *, retry_after_seconds: int, **extra: object
    ) -> None:
        super().__init__(code, detail, **extra)
        self.retry_after_seconds = retry_after_seconds


class Limiter:
    """Counts uses; one above a limit raises RateLimited."""

    def __init__(self, setting: str = "") -> None:
        self._rates = parse(setting)
        self._full_at: dict[Limit, OrderedDict[int, float]] = {
            limit: OrderedDict() for limit in Limit
        }
        """By limit and hash of the key: when the allowance will be whole again, on the monotonic clock."""
        self._open: Counter[tuple[Limit, int]] = Counter()

    def check(self, *uses: Use) -> None:
        """Raises RateLimited if one of these uses would exceed its limit; counts nothing."""
        now = time.monotonic()
        seconds, limit = max(
            ((self._wait(limit, key, now), limit) for limit, key in uses),
            key=lambda waiting: waiting[0],
        )
        if seconds > 0:
            raise _rejection(limit, math.ceil(seconds))

    def take(self, *uses: Use) -> None:
        """Count all of these uses, or none. Raises RateLimited."""
        self.check(*uses)
        now = time.monotonic()
        for limit, key in uses:
            if rate := self._rates[limit]:
                full_at = self._full_at[limit]
                hashed = hash(key)
                full_at[hashed] = max(full_at.get(hashed, 0), now) + rate.seconds / rate.number
                full_at.move_to_end(hashed)
                if len(full_at) > MAX_KEYS:
                    full_at.popitem(last=False)

    def give_back(self, *uses: Use) -> None:
        """Cancel uses that were counted."""
        for limit, key in uses:
            rate, full_at, hashed = self._rates[limit], self._full_at[limit], hash(key)
            if rate and hashed in full_at:
                full_at[hashed] -= rate.seconds / rate.number

    def reset(self, *uses: Use) -> None:
        """Restore the whole allowance of these keys."""
        for limit, key in uses:
            self._full_at[limit].pop(hash(key), None)

    @contextmanager
    def slot(self, limit: Limit, key: str) -> Iterator[None]:
        """Occupy one of those that may be open at once, for the duration of the block. Raises RateLimited."""
        rate, slot = self._rates[limit], (limit, hash(key))
        if rate and self._open[slot] >= rate.number:
            raise _rejection(limit, MINUTE)
        self._open[slot] += 1
        try:
            yield
        finally:
            self._open[slot] -= 1
            if not self._open[slot]:
                del self._open[slot]

    def _wait(self, limit: Limit, key: str, now: float) -> float:
        """Seconds until one more use is allowed; 0 if it is allowed now."""
        rate = self._rates[limit]
        if rate is None:
            return 0
        full_at = max(self._full_at[limit].get(hash(key), 0), now)
        seconds = full_at + rate.seconds / rate.number - now - rate.seconds
        return seconds if seconds > ROUNDING_SECONDS else 0


def _rejection(limit: Limit, seconds: int) -> RateLimited:
    return RateLimited(
        "too-many-attempts" if "FAILURES" in limit.name else "too-many-requests",
        f"too many {limit.description}; try again in {seconds} s",
        retry_after_seconds=seconds,
        limit=limit.name.lower(),
    )
