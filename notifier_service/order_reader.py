"""Orders by id for many mails at once: those asked for together are read together."""

import asyncio
from functools import partial

from notifier_service import store
from notifier_service.domain import KnownOrder, NotifierState, OrderNotReceived, with_recipient
from shared.chassis.storage.database import Database

Asked = tuple[str, asyncio.Future[KnownOrder]]


class OrderReader:
    """One query for all who ask in the same turn of the loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: list[Asked] = []
        self._reading: asyncio.Task[None] | None = None

    async def order(self, order_id: str) -> KnownOrder:
        """The order as `with_recipient`. Raises OrderNotReceived, CustomerNotReceived, or what the database raises."""
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
        waiting = [(order_id, answer) for order_id, answer in asked if not answer.done()]
        order_ids = list({order_id for order_id, _ in waiting})
        room: NotifierState | Exception
        try:
            room = await self._database.run(partial(store.load_addresses, order_ids=order_ids))
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            room = error
        for order_id, answer in waiting:
            if not answer.done():  # who asked may have gone away
                _answer(answer, room, order_id)


def _answer(
    answer: asyncio.Future[KnownOrder], room: NotifierState | Exception, order_id: str
) -> None:
    if isinstance(room, Exception):
        answer.set_exception(room)
        return
    try:
        answer.set_result(with_recipient(room, order_id))
    except OrderNotReceived as error:
        answer.set_exception(error)
