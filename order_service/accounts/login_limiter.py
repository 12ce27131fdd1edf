"""Limits password guessing: failures count by account and address together, so that an attacker cannot lock out the owner.

The limit for a whole account is far higher, and does not apply at an address at which the account's owner has been.
"""

from collections import OrderedDict

from shared.chassis.http.rate_limits import MAX_KEYS, Limit, Limiter, Use


class LoginLimiter:
    """Counts each attempt as a failure until it has succeeded, so that concurrent attempts are all counted."""

    def __init__(self, limits: Limiter) -> None:
        self._limits = limits
        self._owned: OrderedDict[int, None] = OrderedDict()

    def begin(self, account: str, address: str) -> list[Use]:
        """Count an attempt; returns the limits that were used. Raises Rejected."""
        uses = [
            (Limit.SIGN_IN_FAILURES_PER_ADDRESS, address),
            (Limit.SIGN_IN_FAILURES_PER_ACCOUNT_AND_ADDRESS, _pair(account, address)),
        ]
        if hash(_pair(account, address)) not in self._owned:
            uses.append((Limit.SIGN_IN_FAILURES_PER_ACCOUNT, account))
        self._limits.take(*uses)
        return uses

    def withdraw(self, uses: list[Use]) -> None:
        """Do not count the attempt: the password was not checked."""
        self._limits.give_back(*uses)

    def succeed(self, account: str, address: str, uses: list[Use]) -> None:
        """The password was right."""
        self._limits.give_back(*uses)
        pair = _pair(account, address)
        self._limits.reset((Limit.SIGN_IN_FAILURES_PER_ACCOUNT_AND_ADDRESS, pair))
        self.note_owner(account, address)

    def note_owner(self, account: str, address: str) -> None:
        """Note that the account's owner uses this address."""
        owned = hash(_pair(account, address))
        self._owned[owned] = None
        self._owned.move_to_end(owned)
        if len(self._owned) > MAX_KEYS:
            self._owned.popitem(last=False)


def _pair(account: str, address: str) -> str:
    return f"{account}\n{address}"
