"""HEAD, compression, entity tags and `/api`, as every application has them."""

import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from litestar import Litestar, MediaType, Response, get, post
from litestar.response import Stream
from litestar.testing import TestClient

from shared.chassis.http.representation import MIN_COMPRESSED_BYTES, PUBLIC_DATA, represent

TEXT = "a" * 2 * MIN_COMPRESSED_BYTES
LARGE = {"text": TEXT}
STRONG = {"ETag": '"1"'}

Json = dict[str, Any]


@get("/large", sync_to_thread=False)
def large() -> Json:
    return LARGE


@get("/small", sync_to_thread=False)
def small() -> Json:
    return {"text": ""}


@get("/public", sync_to_thread=False, cache_control=PUBLIC_DATA)
def public() -> Json:
    return LARGE


@get("/page", media_type=MediaType.HTML, sync_to_thread=False)
def page() -> str:
    return TEXT


@get("/edited", sync_to_thread=False)
def edited() -> Response[Json]:
    return Response(LARGE, headers=STRONG)


@get("/pieces", sync_to_thread=False)
def pieces() -> Stream:
    async def halves() -> AsyncIterator[str]:
        for _ in range(2):
            yield TEXT

    headers = {"Content-Length": str(2 * len(TEXT))}
    return Stream(halves(), media_type="application/json", headers=headers)


@post("/token", sync_to_thread=False)
def token() -> Json:
    return LARGE


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar([large, small, public, page, edited, pieces, token], openapi_config=None)
    app.asgi_handler = represent(app.asgi_handler)
    with TestClient(app) as client:
        yield client


def test_large_json_is_compressed_on_request(client: TestClient[Litestar]):
    with client.stream("GET", "/large", headers={"Accept-Encoding": "br, gzip"}) as response:
        body = b"".join(response.iter_raw())
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Length"] == str(len(body))
    assert gzip.decompress(body) == client.get("/small").content.replace(
        b'""', f'"{TEXT}"'.encode()
    )


def test_json_is_sent_as_it_is_otherwise(client: TestClient[Litestar]):
    response = client.get("/large", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in response.headers
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.json() == LARGE


@pytest.mark.parametrize("path", ["/small", "/page", "/edited", "/pieces"])
def test_other_responses_are_never_compressed(client: TestClient[Litestar], path: str):
    response = client.get(path)
    assert response.request.headers["Accept-Encoding"].startswith("gzip")
    assert "Content-Encoding" not in response.headers


def test_response_to_post_is_never_compressed(client: TestClient[Litestar]):
    response = client.post("/token")
    assert len(response.content) > MIN_COMPRESSED_BYTES
    assert "Content-Encoding" not in response.headers


def test_body_in_pieces_arrives_whole(client: TestClient[Litestar]):
    assert client.get("/pieces").text == 2 * TEXT


def test_unchanged_public_data_is_not_sent_again(client: TestClient[Litestar]):
    tag = client.get("/public").headers["ETag"]
    unchanged = client.get("/public", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    changed = client.get("/public", headers={"If-None-Match": 'W/"0"'})
    assert (changed.status_code, changed.json()) == (200, LARGE)
    assert "ETag" not in client.get("/large").headers


def test_head_has_the_head_of_get(client: TestClient[Litestar]):
    for path in ("/large", "/public", "/page", "/pieces"):
        head, whole = client.head(path), client.get(path)
        assert head.content == b""
        assert head.status_code == 200
        assert head.headers == whole.headers
    assert client.head("/token").status_code == 405


def test_every_path_is_also_below_api(client: TestClient[Litestar]):
    assert client.get("/api/large").json() == LARGE
    assert client.post("/api/token").json() == LARGE
    assert client.get("/api/api/large").status_code == 404
    assert client.get("/apilarge").status_code == 404
