"""How often each thing may be done: one table of limits, counted in this process's memory; a restart forgets.

Each key (an address, an account, a recipient) starts with its whole allowance, which refills evenly (GCRA): ten in
five minutes are ten at once, and one more every thirty seconds. So a key costs one number, whatever its rate.
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
"""Remembered for each limit; the one used longest ago makes room, so that many addresses cannot fill the memory."""

ROUNDING_SECONDS = 1e-3

OFF = "off"
AT_ONCE = 0
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400

_UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_RATE = re.compile(r"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,4})?(second|minute|hour|day)s?)?")


class Rate(NamedTuple):
    """At most so many in so many seconds, or `AT_ONCE`: open at the same time."""

    most: int
    seconds: int


@unique
class Limit(Enum):
    """The table. `QUADRILLE_RATE_LIMITS` changes a row by its name in lower case."""

    REGISTRATIONS_PER_ADDRESS = 20, HOUR, "registrations from this address"
    SIGN_IN_FAILURES_PER_ACCOUNT_AND_ADDRESS = 10, 5 * MINUTE, "wrong passwords for this account from this address"  # fmt: skip
    SIGN_IN_FAILURES_PER_ADDRESS = 100, 5 * MINUTE, "wrong passwords from this address"
    SIGN_IN_FAILURES_PER_ACCOUNT = 1000, HOUR, "wrong passwords for this account"
    SIGN_INS_PER_ACCOUNT = 60, 5 * MINUTE, "sign-ins of this account"
    REFRESHES_PER_SESSION = 30, MINUTE, "refreshes of this session"
    REFRESHES_PER_ADDRESS = 600, MINUTE, "refreshes from this address"
    CHANGES_PER_CUSTOMER = 300, 5 * MINUTE, "changes of this customer's cart and account"
    ORDERS_PER_CUSTOMER = 60, HOUR, "orders of this customer"
    GUEST_ORDERS_PER_ADDRESS = 200, HOUR, "guest orders from this address"
    ORDERS_PER_RECIPIENT = 20, DAY, "orders with mails to this recipient"
    RESENDS_PER_ORDER = 10, HOUR, "repeated mails of this order"
    SEARCHES_PER_ADDRESS = 240, MINUTE, "searches from this address"
    STREAMS_PER_ADDRESS = 100, AT_ONCE, "open streams from this address"

    def __init__(self, most: int, seconds: int, what: str) -> None:
        self.rate = Rate(most, seconds)
        self.what = what


Use = tuple[Limit, str]
"""One use of a limit by a key."""


def parse(setting: str) -> dict[Limit, Rate | None]:
    """The table with the rows that the setting changes; None is no limit.

    `off` is none at all; else rows separated by commas, as `guest_orders_per_address=500/hour`, `…=30/5minutes`,
    `streams_per_address=20` or `…=off`. Raises ValueError naming what cannot be read.
    """
    if setting.strip() == OFF:
        return dict.fromkeys(Limit)
    rates: dict[Limit, Rate | None] = {limit: limit.rate for limit in Limit}
    for row in filter(None, map(str.strip, setting.split(","))):
        name, _, value = (part.strip() for part in row.partition("="))
        limit = Limit.__members__.get(name.upper())
        if limit is None:
            known = ", ".join(known.lower() for known in Limit.__members__)
            raise ValueError(f"{name!r} is not a limit; there are {known}")
        rates[limit] = None if value == OFF else _rate(limit, value)
    return rates


def _rate(limit: Limit, value: str) -> Rate:
    found = _RATE.fullmatch(value)
    is_at_once = limit.rate.seconds == AT_ONCE
    if not found or is_at_once != (found[3] is None):
        example = "20" if is_at_once else "100/hour or 30/5minutes"
        raise ValueError(f"{limit.name.lower()}: expected {OFF} or a rate such as {example}")
    seconds = AT_ONCE if is_at_once else int(found[2] or 1) * _UNITS[found[3]]
    return Rate(int(found[1]), seconds)


class RateLimited(Rejected):
    """One use too many; the next may succeed in `retry_after_seconds`."""

    def __init__(
        self, code: str, detail: str, *, retry_after_seconds: int, **extra: object
    ) -> None:
        super().__init__(code, detail, **extra)
        self.retry_after_seconds = retry_after_seconds


class Limiter:
    """Counts uses, and refuses one too many as 429 with `Retry-After`."""

    def __init__(self, setting: str = "") -> None:
        self._rates = parse(setting)
        self._full_at: dict[Limit, OrderedDict[int, float]] = {
            limit: OrderedDict() for limit in Limit
        }
        """By limit and key: when the allowance will be whole again."""
        self._open: Counter[tuple[Limit, int]] = Counter()

    def check(self, *uses: Use) -> None:
        """Raises Rejected when one of these would be too many; counts nothing."""
        now = time.monotonic()
        seconds, limit = max(
            ((self._wait(limit, key, now), limit) for limit, key in uses),
            key=lambda waiting: waiting[0],
        )
        if seconds > 0:
            raise _rejection(limit, math.ceil(seconds))

    def take(self, *uses: Use) -> None:
        """Count all of these, or none and raise Rejected."""
        self.check(*uses)
        now = time.monotonic()
        for limit, key in uses:
            if rate := self._rates[limit]:
                full_at = self._full_at[limit]
                hashed = hash(key)
                full_at[hashed] = max(full_at.get(hashed, 0), now) + rate.seconds / rate.most
                full_at.move_to_end(hashed)
                if len(full_at) > MAX_KEYS:
                    full_at.popitem(last=False)

    def give_back(self, *uses: Use) -> None:
        """These do not count after all."""
        for limit, key in uses:
            rate, full_at, hashed = self._rates[limit], self._full_at[limit], hash(key)
            if rate and hashed in full_at:
                full_at[hashed] -= rate.seconds / rate.most

    def forget(self, *uses: Use) -> None:
        """These keys have their whole allowance again."""
        for limit, key in uses:
            self._full_at[limit].pop(hash(key), None)

    @contextmanager
    def slot(self, limit: Limit, key: str) -> Iterator[None]:
        """One of those that may be open at once, until the block is left. Raises Rejected."""
        rate, held = self._rates[limit], (limit, hash(key))
        if rate and self._open[held] >= rate.most:
            raise _rejection(limit, MINUTE)
        self._open[held] += 1
        try:
            yield
        finally:
            self._open[held] -= 1
            if not self._open[held]:
                del self._open[held]

    def _wait(self, limit: Limit, key: str, now: float) -> float:
        """Seconds until one more is allowed, 0 for at once."""
        rate = self._rates[limit]
        if rate is None:
            return 0
        full_at = max(self._full_at[limit].get(hash(key), 0), now)
        seconds = full_at + rate.seconds / rate.most - now - rate.seconds
        return seconds if seconds > ROUNDING_SECONDS else 0


def _rejection(limit: Limit, seconds: int) -> RateLimited:
    return RateLimited(
        "too-many-attempts" if "FAILURES" in limit.name else "too-many-requests",
        f"too many {limit.what}; try again in {seconds} s",
        retry_after_seconds=seconds,
        limit=limit.name.lower(),
    )
