"""Requests that wait until the read models contain what their caller has done or seen.

A commit wakes only the waiters whose wait it may end, so its cost does not depend on how many requests wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from litestar import Request
from litestar.params import HeaderParameter, ParameterKwarg, QueryParameter

from read_api.positions import MAX_LENGTH, Positions, contains, parse_positions
from shared.chassis.messages.rejection import Rejected

CONSISTENCY_TIMEOUT_SECONDS = 5.0
MAX_WAITING = 1000
"""Requests that wait at a time; further ones are rejected."""

HEADER = "Consistency-Token"
QUERY = "after"
_MEANING = "the token of a command's response, e.g. order:12 or order:12,inventory:30: the response contains its effects"

PARAMETERS: dict[str, ParameterKwarg] = {
    "consistency_token": HeaderParameter(
        name=HEADER,
        annotation=str | None,
        default=None,
        max_length=MAX_LENGTH,
        description=_MEANING,
    ),
    "after": QueryParameter(
        name=QUERY,
        annotation=str | None,
        default=None,
        max_length=MAX_LENGTH,
        description="the same, where no header can be set",
    ),
}
"""What every query accepts."""

T = TypeVar("T")


class Waiter:
    """A request that waits for positions, or for any event of an order."""

    def __init__(self, positions: Positions | None = None, order_id: str | None = None) -> None:
        self._positions = positions
        self._order_id = order_id
        self.woken = asyncio.Event()

    def notify(self, applied: Positions, changed: frozenset[str]) -> None:
        """Wake it if this may end its wait."""
        if self._order_id in changed or (
            self._positions is not None and contains(applied, self._positions)
        ):
            self.woken.set()


class Consistency:
    """The applied positions, and the requests that wait for further ones."""

    def __init__(
        self, timeout_seconds: float = CONSISTENCY_TIMEOUT_SECONDS, max_waiting: int = MAX_WAITING
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_waiting = max_waiting
        self._applied: Positions = {}
        self._commits = 0
        self._waiters: set[Waiter] = set()
        self._is_closed = False

    def notify(self, applied: Positions, changed: Iterable[str] = ()) -> None:
        """The read models contain these positions now; `changed` are the entities of the newest events."""
        self._applied = applied
        self._commits += 1
        entities = frozenset(changed)
        for waiter in self._waiters:
            waiter.notify(applied, entities)

    def close(self) -> None:
        """End all waits: no more events will be applied."""
        self._is_closed = True
        for waiter in self._waiters:
            waiter.woken.set()

    async def wait(self, required: Positions) -> None:
        """Return when the read models contain the required positions. Raises Rejected if they do not in time."""
        if contains(self._applied, required):
            return
        with self._admitted(Waiter(positions=required)) as waiter:
            await self._is_woken(waiter, self._deadline())
        if not contains(self._applied, required):
            raise Rejected(
                "projection-behind",
                "the read model has not caught up with this token yet; retry",
            )

    async def poll_until(self, order_id: str, query: Callable[[], Awaitable[T]]) -> T:
        """The query's first true result, at once or after a later event of the order; its last one after a timeout.

        Raises Rejected if too many requests wait.
        """
        commits = self._commits
        result = await query()
        if result or self._is_closed:
            return result
        deadline = self._deadline()
        with self._admitted(Waiter(order_id=order_id)) as waiter:
            if self._commits != commits:  # the query may have seen the state before
                waiter.woken.set()
            while not result and await self._is_woken(waiter, deadline):
                waiter.woken.clear()
                result = await query()
        return result

    @contextmanager
    def _admitted(self, waiter: Waiter) -> Iterator[Waiter]:
        if len(self._waiters) >= self._max_waiting:
            raise Rejected(
                "too-many-waiting",
                "too many requests wait for events at present; retry",
            )
        self._waiters.add(waiter)
        try:
            yield waiter
        finally:
            self._waiters.discard(waiter)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def _is_woken(self, waiter: Waiter, deadline: float) -> bool:
        """Wait; whether it is woken before the deadline."""
        if self._is_closed:
            return False
        try:
            async with asyncio.timeout_at(deadline):
                await waiter.woken.wait()
        except TimeoutError:
            return False
        return True


def wait_for_consistency(
    consistency: Consistency,
) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """Delays each query as its token requires; raises BadRequest, Rejected.

    A plain function: Litestar deep-copies router arguments, including a bound method's instance.
    """

    async def wait(request: Request[Any, Any, Any]) -> None:
        if (token := request.headers.get(HEADER)) is not None:
            await consistency.wait(parse_positions(token, HEADER))
        if (token := request.query_params.get(QUERY)) is not None:
            await consistency.wait(parse_positions(token, QUERY))

    return wait
