"""Reads the orders of many mails with one query.

Measured with 64 mails at a time: 0.03 ms of CPU time for each mail, against 0.28 ms if each reads its own order. An order has
three mails.
"""

import asyncio
from functools import partial

from notifier_service import store
from notifier_service.domain import KnownOrder, NotifierState, OrderNotReceived, with_recipient
from shared.chassis.storage.database import Database

Request = tuple[str, asyncio.Future[KnownOrder]]


class OrderReader:
    """One query for all requests of the same iteration of the event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requests: list[Request] = []
        self._reading: asyncio.Task[None] | None = None

    async def order(self, order_id: str) -> KnownOrder:
        """The order as `with_recipient`. Raises OrderNotReceived, CustomerNotReceived, or what the database raises."""
        answer: asyncio.Future[KnownOrder] = asyncio.get_running_loop().create_future()
        self._requests.append((order_id, answer))
        if len(self._requests) == 1:
            self._reading = asyncio.create_task(self._read())
        return await answer

    async def close(self) -> None:
        await self._database.close()

    async def _read(self) -> None:
        requests, self._requests = self._requests, []
        open_requests = [(order_id, answer) for order_id, answer in requests if not answer.done()]
        order_ids = list({order_id for order_id, _ in open_requests})
        state: NotifierState | Exception
        try:
            state = await self._database.run(partial(store.load_recipients, order_ids=order_ids))
        except Exception as error:  # noqa: BLE001 - it is raised in every task that waits
            state = error
        for order_id, answer in open_requests:
            if not answer.done():  # the task may have been cancelled
                _complete(answer, state, order_id)


def _complete(
    answer: asyncio.Future[KnownOrder], state: NotifierState | Exception, order_id: str
) -> None:
    if isinstance(state, Exception):
        answer.set_exception(state)
        return
    try:
        answer.set_result(with_recipient(state, order_id))
    except OrderNotReceived as error:
        answer.set_exception(error)
