"""Requests that wait until the rows contain what their caller has done, or seen done, and who is admitted to wait.

A commit wakes only those whose wait it may end: it costs nothing for the others, however many wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from litestar import Request
from litestar.params import HeaderParameter, ParameterKwarg, QueryParameter

from read_api.positions import MAX_LENGTH, Positions, parse_positions
from shared.chassis.messages.rejection import Rejected

CONSISTENCY_TIMEOUT_SECONDS = 5.0
MAX_WAITING = 1000
"""Requests that wait at a time; further ones are refused."""

HEADER = "Consistency-Token"
QUERY = "after"
_MEANING = "the token of a command's answer, e.g. order:12 or order:12,inventory:30: what is shown contains it"

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
"""What every query understands."""

T = TypeVar("T")


class Waiter:
    """A request that waits: for positions, or for any event about an order."""

    def __init__(self, positions: Positions | None = None, order_id: str | None = None) -> None:
        self._positions = positions
        self._order_id = order_id
        self.woken = asyncio.Event()

    def tell(self, applied: Positions, changed: frozenset[str]) -> None:
        """Wake it if this ends its wait."""
        if self._order_id in changed or (
            self._positions is not None and _contains(applied, self._positions)
        ):
            self.woken.set()


class Consistency:
    """How far the rows have come, and the requests that need more of them."""

    def __init__(
        self, timeout_seconds: float = CONSISTENCY_TIMEOUT_SECONDS, max_waiting: int = MAX_WAITING
    ) -> None:
        self._patience_seconds = timeout_seconds
        self._max_waiting = max_waiting
        self._applied: Positions = {}
        self._commits = 0
        self._waiters: set[Waiter] = set()
        self._is_closed = False

    def tell(self, applied: Positions, changed: Iterable[str] = ()) -> None:
        """The rows contain all this now; `changed` are the entities of the newest events."""
        self._applied = applied
        self._commits += 1
        entities = frozenset(changed)
        for waiter in self._waiters:
            waiter.tell(applied, entities)

    def close(self) -> None:
        """Nothing more will come: nobody is to wait any longer."""
        self._is_closed = True
        for waiter in self._waiters:
            waiter.woken.set()

    async def wait(self, wanted: Positions) -> None:
        """Until the rows contain all of `wanted`; raises Rejected when they do not in time."""
        if _contains(self._applied, wanted):
            return
        with self._admitted(Waiter(positions=wanted)) as waiter:
            await self._woken(waiter, self._deadline())
        if not _contains(self._applied, wanted):
            raise Rejected(
                "projection-behind",
                "the read model has not caught up with this token yet; retry",
            )

    async def until_found(self, order_id: str, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` finds: at once, after a later event about the order, or not in time. Raises Rejected."""
        commits = self._commits
        found = await look()
        if found or self._is_closed:
            return found
        deadline = self._deadline()
        with self._admitted(Waiter(order_id=order_id)) as waiter:
            if self._commits != commits:  # one came while `look` looked
                waiter.woken.set()
            while not found and await self._woken(waiter, deadline):
                waiter.woken.clear()
                found = await look()
        return found

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
        return asyncio.get_running_loop().time() + self._patience_seconds

    async def _woken(self, waiter: Waiter, deadline: float) -> bool:
        """Whether it is woken in time."""
        if self._is_closed:
            return False
        try:
            async with asyncio.timeout_at(deadline):
                await waiter.woken.wait()
        except TimeoutError:
            return False
        return True


def wait_for_consistency(
    freshness: Consistency,
) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """Holds each query back as its token asks; raises BadRequest, Rejected.

    A plain function: Litestar deep-copies router arguments, including a bound method's instance.
    """

    async def hold_back(request: Request[Any, Any, Any]) -> None:
        if (token := request.headers.get(HEADER)) is not None:
            await freshness.wait(parse_positions(token, HEADER))
        if (token := request.query_params.get(QUERY)) is not None:
            await freshness.wait(parse_positions(token, QUERY))

    return hold_back


def _contains(applied: Positions, wanted: Positions) -> bool:
    return all(applied.get(source, 0) >= position for source, position in wanted.items())
