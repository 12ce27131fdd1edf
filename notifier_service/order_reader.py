"""Orders by id for many mails at once: those asked for together are read together."""

import asyncio
from functools import partial

from notifier_service import store
from notifier_service.domain import KnownOrder
from shared.database import Database


class OrderUnknown(Exception):  # noqa: N818 - says what is the case
    """The order's beginning has not been heard yet; it will be."""


class OrderReader:
    """One query for all who ask in the same turn of the loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: list[tuple[str, asyncio.Future[KnownOrder]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def order(self, order_id: str) -> KnownOrder:
        """The order. Raises OrderUnknown, or what the database raises."""
        answer: asyncio.Future[KnownOrder] = asyncio.get_running_loop().create_future()
        self._asked.append((order_id, answer))
        if len(self._asked) == 1:
            self._reading = asyncio.create_task(self._read())
        return await answer

    async def close(self) -> None:
        """Nobody asks any more."""
        await self._database.close()

    async def _read(self) -> None:
        asked, self._asked = self._asked, []
        order_ids = list({order_id for order_id, _ in asked})
        try:
            found = await self._database.run(partial(store.load_orders, order_ids=order_ids))
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            _answer_all(asked, {}, error)
        else:
            _answer_all(asked, found, None)


def _answer_all(
    asked: list[tuple[str, asyncio.Future[KnownOrder]]],
    found: dict[str, KnownOrder],
    error: Exception | None,
) -> None:
    for order_id, answer in asked:
        if answer.done():  # who asked has gone away
            continue
        if order := found.get(order_id):
            answer.set_result(order)
        else:
            answer.set_exception(error or OrderUnknown(f"order {order_id} is not known yet"))
