"""Consistency tokens: a query waits until what its caller has done, or seen done, is among the rows it reads."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from litestar import Request
from litestar.params import HeaderParameter, ParameterKwarg, QueryParameter

from shared.contracts import EMITTERS
from shared.problem import BadRequest, FieldError
from shared.refused import Refused

PATIENCE_SECONDS = 5.0

_SOURCES = "|".join(sorted(set(EMITTERS.values())))
_PLACE = f"(?:{_SOURCES}):[0-9]{{1,18}}"
_TOKEN = re.compile(f"{_PLACE}(?:,{_PLACE})*")

HEADER = "Consistency-Token"
QUERY = "after"
_MEANING = "the token of a command's answer, e.g. order:12 or order:12,inventory:30: what is shown contains it"

PARAMETERS: dict[str, ParameterKwarg] = {
    "consistency_token": HeaderParameter(
        name=HEADER, annotation=str | None, default=None, description=_MEANING
    ),
    "after": QueryParameter(
        name=QUERY,
        annotation=str | None,
        default=None,
        description="the same, where no header can be set",
    ),
}
"""What every query understands."""

T = TypeVar("T")

Places = Mapping[str, int]
"""A position in the log of each source."""


class Freshness:
    """How far the rows have come; whoever needs more of them waits here for the next commit."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._applied: Places = {}
        self._news = asyncio.Event()
        self._is_closed = False

    def tell(self, applied: Places) -> None:
        """The rows contain all this now."""
        self._applied = applied
        self._wake()

    def close(self) -> None:
        """Nothing more will come: nobody is to wait any longer."""
        self._is_closed = True
        self._wake()

    async def wait(self, wanted: Places) -> None:
        """Until the rows contain all of `wanted`; raises Refused when they do not in time."""

        async def contained() -> bool:
            return all(self._applied.get(source, 0) >= at for source, at in wanted.items())

        if not await self.until(contained):
            raise Refused(
                "projection-behind",
                "what you ask to see has not arrived here yet; ask again",
                status=503,
                headers={"Retry-After": "1"},
            )

    async def until(self, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` finds as soon as that is something: at once, after a later commit, or not in time."""
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            news = self._news  # noted first: what is committed while `look` looks is news
            found = await look()
            if found or self._is_closed or not await _comes(news, deadline):
                return found

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def holding_back(freshness: Freshness) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """Holds each query back as its token asks; raises BadRequest, Refused.

    A function and no method: Litestar copies what a router is made with, and whom a method belongs to.
    """

    async def hold_back(request: Request[Any, Any, Any]) -> None:
        if (token := request.headers.get(HEADER)) is not None:
            await freshness.wait(parse(token, HEADER))
        if (token := request.query_params.get(QUERY)) is not None:
            await freshness.wait(parse(token, QUERY))

    return hold_back


async def _comes(news: asyncio.Event, deadline: float) -> bool:
    """Whether there is news in time."""
    try:
        async with asyncio.timeout_at(deadline):
            await news.wait()
    except TimeoutError:
        return False
    return True


def parse(token: str, field: str) -> Places:
    """What a token says; of a source named twice, the later position. Raises BadRequest."""
    if not _TOKEN.fullmatch(token):
        wrong = "expected a consistency token, e.g. order:12,inventory:30"
        raise BadRequest(FieldError(field=field, message=wrong))
    places: dict[str, int] = {}
    for place in token.split(","):
        source, _, position = place.partition(":")
        places[source] = max(int(position), places.get(source, 0))
    return places
