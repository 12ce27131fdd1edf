"""The order service in this process, called over ASGI, so that a client may have any address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from litestar import Litestar

from order_service.app import build
from shared.settings import ShopSettings
from tests.support.chassis import started

Json = dict[str, Any]

PASSWORD = "correct horse"


class OrderClient:
    """A client of the service, with or without a token."""

    def __init__(self, app: Litestar) -> None:
        self.app = app

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
        address: str = "192.0.2.1",
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(address, 40_000))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Idempotency-Key": key} if key else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://order") as client:
            return await client.request(method, path, json=body, headers=headers)

    async def register(self, email: str, password: str = PASSWORD, **fields: Any) -> httpx.Response:
        body = {"email": email, "password": password, **fields}
        return await self.ask("POST", "/auth/register", body)

    async def login(
        self, email: str, password: str = PASSWORD, address: str = "192.0.2.1"
    ) -> httpx.Response:
        body = {"email": email, "password": password}
        return await self.ask("POST", "/auth/login", body, address=address)

    async def sign_in(self, email: str, password: str = PASSWORD) -> Json:
        """The tokens of a registered user."""
        response = await self.login(email, password)
        assert response.status_code == 200, response.text
        tokens: Json = response.json()
        return tokens

    async def register_and_sign_in(self, email: str) -> Json:
        """The tokens of a new user."""
        response = await self.register(email)
        assert response.status_code == 201, response.text
        return await self.sign_in(email)

    async def refresh(self, refresh_token: str) -> httpx.Response:
        return await self.ask("POST", "/auth/refresh", {"refreshToken": refresh_token})


@asynccontextmanager
async def open_order_service(settings: ShopSettings) -> AsyncIterator[OrderClient]:
    """The service from its start to its end; opened again on the same settings it is restarted."""
    async with started(build(settings)) as app:
        yield OrderClient(app)


def problem_of(response: httpx.Response, status: int, slug: str) -> Json:
    """The problem document of a response that must be this problem."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    problem: Json = response.json()
    assert problem["type"] == f"urn:quadrille:problem:{slug}"
    return problem
