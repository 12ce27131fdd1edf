"""Signing keys over HTTP: the public ones for everybody, their rotation and revocation for the admin."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct

from order_service.accounts.signing_keys import KeyView, SigningKeys
from shared.chassis.http.auth import admin_only
from shared.chassis.http.command_bus import json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.runtime.service import Service


class KeyList(Struct, frozen=True, kw_only=True):
    """Every key that was published under the service's name."""

    items: Sequence[KeyView]


def router(service: Service, keys: SigningKeys) -> Router:
    """The routes under `/auth/keys`."""

    @get("/")
    async def list_keys() -> KeyList:
        """The keys that access tokens are signed with, oldest first, then foreign ones."""
        return KeyList(items=await keys.show())

    @post("/", responses={201: ResponseSpec(KeyView), **responses(503)})
    async def rotate_key(request: ServiceRequest) -> Response[bytes]:
        """Publish a new key; it starts to sign a few seconds later. Tokens of the others stay good."""
        async with keys.rotation() as rotation:
            return await service.commands.execute(
                request,
                rotation.command,
                lambda _: json_reply(201, rotation.view),
                extra_writes=rotation.store,
            )

    @delete("/{key_id:str}", status_code=200, responses=responses(404))
    async def revoke_key(key_id: FromPath[str]) -> KeyList:
        """Have every service refuse the key's tokens. A new key replaces the current one at once."""
        await keys.revoke(key_id)
        return KeyList(items=await keys.show())

    return Router(
        "/auth/keys",
        route_handlers=[list_keys, rotate_key, revoke_key],
        guards=[admin_only],
        tags=["signing keys"],
    )


def jwks_route(keys: SigningKeys) -> Any:  # noqa: ANN401 - Litestar's handler
    """`/.well-known/jwks.json`."""

    @get("/.well-known/jwks.json", tags=["signing keys"], sync_to_thread=False)
    def show_jwks() -> dict[str, list[dict[str, str]]]:
        """The public keys by which access tokens can be checked."""
        return keys.jwks

    return show_jwks
