"""Which Host a request may name, and which Origin may send changes."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.chassis.http.policy import HttpPolicy
from shared.chassis.http.stopping import answering_cancelled
from shared.settings import ShopSettings

EVIL = "https://evil.example"


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"X-Frame-Options", b"SAMEORIGIN")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done", "more_body": False})


async def answer(
    named: str | None = "localhost:8080",
    origin: str | None = None,
    method: str = "POST",
    address: str = "127.0.0.1",
    **changes: Any,
) -> httpx.Response:
    protected: Any = HttpPolicy.of(ShopSettings(**changes), address).protect(app)
    headers = {name: value for name, value in (("Host", named), ("Origin", origin)) if value}
    transport = httpx.ASGITransport(protected)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        request = client.build_request(method, "/", headers=headers)
        if named is None:
            del request.headers["Host"]
        return await client.send(request)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "shop.localhost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.168.1.5:8080",
        None,
    ],
)
async def test_local_host_name_is_accepted(host: str | None):
    assert (await answer(host)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "a b", "[::1", "x:y"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_foreign_host_name_is_refused_on_loopback(host: str, method: str):
    refused = await answer(host, origin=f"http://{host}", method=method)
    assert refused.status_code == 421
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:quadrille:problem:misdirected-request"


async def test_allowed_names_are_accepted():
    allowed = {"allowed_hosts": "shop.example, Order"}
    assert (await answer("shop.example", **allowed)).status_code == 200
    assert (await answer("order:8080", **allowed)).status_code == 200
    assert (await answer("evil.example", **allowed)).status_code == 421


async def test_any_host_name_is_accepted_off_loopback():
    assert (await answer("shop.lan", address="0.0.0.0")).status_code == 200


async def test_allowed_names_apply_off_loopback_too():
    everywhere = {"address": "::", "allowed_hosts": "shop.example"}
    assert (await answer("localhost", **everywhere)).status_code == 200
    assert (await answer("evil.example", **everywhere)).status_code == 421


async def test_configured_host_name_is_accepted():
    assert (await answer("myhost:8080", address="127.0.1.1", host="myhost")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "http://localhost",
        "http://localhost:8081",
        "http://localhost:8080.evil.example",
        "http://[",
    ],
)
async def test_foreign_origin_cannot_change_anything(method: str, origin: str):
    refused = await answer(origin=origin, method=method)
    assert refused.status_code == 403
    assert refused.json()["type"] == "urn:quadrille:problem:foreign-origin"


async def test_malformed_host_does_not_equal_malformed_origin():
    assert (await answer("[", "null", address="0.0.0.0")).status_code == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", None),
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("localhost", "http://localhost:80"),
        ("localhost:443", "https://localhost"),
    ],
)
async def test_own_origin_may_send_changes(host: str, origin: str | None):
    assert (await answer(host, origin)).status_code == 200


async def test_listed_origin_may_send_changes():
    listed = "https://shop.example, https://other.example"
    assert (await answer(origin="https://other.example", cors_origins=listed)).status_code == 200
    assert (await answer(origin=EVIL, cors_origins=listed)).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_foreign_origin_may_read(method: str):
    assert (await answer(origin=EVIL, method=method)).status_code == 200


@pytest.mark.parametrize("origin", [None, EVIL])
async def test_answers_carry_security_headers(origin: str | None):
    headers = (await answer(origin=origin)).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    frames = [value for name, value in headers.multi_items() if name == "x-frame-options"]
    assert frames == (["DENY"] if origin else ["SAMEORIGIN"])


async def test_cancelled_request_is_answered_503():
    async def cancelled(_scope: Any, _receive: Any, _send: Any) -> None:
        raise asyncio.CancelledError

    transport = httpx.ASGITransport(answering_cancelled(cancelled))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        response = await client.post("/orders")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert response.json()["type"] == "urn:quadrille:problem:busy"


async def test_cancelled_stream_ends_without_another_answer():
    async def cancelled(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise asyncio.CancelledError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(asyncio.CancelledError):
        await answering_cancelled(cancelled)({"type": "http"}, None, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
