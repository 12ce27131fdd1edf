"""How long the steps of a saga usually take: percentiles of a bounded sample of recent orders, kept for some seconds."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from read_api.saga_steps import UNDELIVERED, Step, history_of
from read_api.tables import EVENTS, ORDERS
from shared.chassis.storage.reader import Reader
from shared.chassis.storage.sql import any_of

SAMPLE_COMPLETED = 200
SAMPLE_OF_OTHER_ENDS = 50
KEPT_SECONDS = 10

_COMPLETED = (
    select(ORDERS.c.order_id)
    .where(ORDERS.c.completed_at.is_not(None))
    .order_by(ORDERS.c.completed_at.desc())
    .limit(SAMPLE_COMPLETED)
)
STEP_EVENTS = (
    select(
        EVENTS.c.entity_id,
        EVENTS.c.event_id,
        EVENTS.c.event_type.label("type"),
        EVENTS.c.source,
        EVENTS.c.position,
        EVENTS.c.causation_id,
        EVENTS.c.recorded_at,
    )
    .where(any_of(EVENTS.c.entity_id, "ids"))
    .order_by(EVENTS.c.entity_id)
)
"""What the steps of these orders follow from, each order's events together."""


class UsualTime(NamedTuple):
    """In seconds: half of the recent orders took at most the first, nine of ten at most the second."""

    p50: float
    p90: float


UsualTimes = Mapping[Step, UsualTime]
"""Without an entry for a step that no recent order has passed."""


class RecentOrders:
    """The usual times of recent orders, computed once in a while, however many ask."""

    def __init__(self, reader: Reader, kept_seconds: float = KEPT_SECONDS) -> None:
        self._reader = reader
        self._kept_seconds = kept_seconds
        self._times: UsualTimes = {}
        self._until = float("-inf")
        self._computing = asyncio.Lock()

    async def usual_times(self) -> UsualTimes:
        async with self._computing:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                async with self._reader.snapshot() as connection:
                    self._times = await _sample(connection)
                self._until = now + self._kept_seconds
            return self._times


async def _sample(connection: AsyncConnection) -> UsualTimes:
    order_ids: list[str] = []
    for recent in (_COMPLETED, *map(_ended_with, sorted(UNDELIVERED))):
        order_ids += (await connection.execute(recent)).scalars()
    rows = await connection.execute(STEP_EVENTS, {"ids": order_ids})
    durations: dict[Step, list[float]] = defaultdict(list)
    for _, events in groupby(rows, attrgetter("entity_id")):
        for step, seconds in history_of(events).durations:
            durations[step].append(seconds)
    return {step: _percentiles(sorted(seconds)) for step, seconds in durations.items()}


def _ended_with(status: str) -> Select[tuple[str]]:
    return (
        select(ORDERS.c.order_id)
        .where(ORDERS.c.status == status)
        .order_by(ORDERS.c.created_at.desc())
        .limit(SAMPLE_OF_OTHER_ENDS)
    )


def _percentiles(ascending: list[float]) -> UsualTime:
    last = len(ascending) - 1
    return UsualTime(*(round(ascending[round(last * share)], 3) for share in (0.5, 0.9)))
