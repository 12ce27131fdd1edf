"""Customers who order while everything fails, and repeat each request until it is answered."""

import asyncio
import random
import uuid
from collections import Counter
from typing import Any, NamedTuple

import httpx

from tests.support.shop_client import Json, order_of

CUSTOMERS = 16
MAX_BACKOFF_SECONDS = 1.0
TIMEOUT_SECONDS = 10
CANCELLED_SHARE = 0.15
PLENTY, SCARCE = "plenty", "scarce"


class Accepted(NamedTuple):
    """An order that was answered 201."""

    key: str
    body: Json
    order_id: str


class Customers:
    """They share the orders to be placed; `accepted` grows as they are answered."""

    def __init__(self, url: str, seed: int, orders: int, per_second: float) -> None:
        self._url = url
        self._seed = seed
        self._left = orders
        self._max_pause = 2 * CUSTOMERS / per_second
        self.accepted: list[Accepted] = []
        self.answers: Counter[str] = Counter()
        """By status, or by the error if there was no answer."""

    async def order_all(self) -> None:
        limits = httpx.Limits(max_connections=2 * CUSTOMERS)
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(CUSTOMERS):
                draw = random.Random(f"{self._seed}:customer {number}")
                tasks.create_task(self._order_repeatedly(client, draw))

    async def _order_repeatedly(self, client: httpx.AsyncClient, draw: random.Random) -> None:
        while self._left > 0:
            self._left -= 1
            accepted = await self._order(client, draw)
            if draw.random() < CANCELLED_SHARE:
                await asyncio.sleep(draw.random())
                await self.post(client, f"/orders/{accepted.order_id}/cancel", {}, {202, 409})
            await asyncio.sleep(draw.random() * self._max_pause)

    async def _order(self, client: httpx.AsyncClient, draw: random.Random) -> Accepted:
        key = str(uuid.UUID(int=draw.getrandbits(128)))
        product = draw.choice([PLENTY, PLENTY, PLENTY, SCARCE])
        body = order_of([(product, draw.randint(1, 3))], {"email": f"{key}@example.com"})
        answer = await self.post(client, "/orders", body, {201}, key=key)
        accepted = Accepted(key, body, answer["orderId"])
        self.accepted.append(accepted)
        return accepted

    async def repeat(self, accepted: Accepted) -> str:
        """The id of the order that the same request has, sent again."""
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await self.post(client, "/orders", accepted.body, {201}, key=accepted.key)
        order_id: str = answer["orderId"]
        return order_id

    async def post(
        self,
        client: httpx.AsyncClient,
        path: str,
        body: Json,
        expected: set[int],
        key: str | None = None,
    ) -> Any:
        """The answer; the request is repeated until there is one that is not 503."""
        headers = {"Idempotency-Key": key} if key else {}
        backoff = 0.02
        while True:
            try:
                response = await client.post(self._url + path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[str(response.status_code)] += 1
                if response.status_code in expected:
                    return response.json()
                # 409: the same request is still being carried out.
                assert response.status_code in {409, 503}, response.text
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
