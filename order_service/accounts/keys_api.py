"""Signing keys over HTTP: the public ones for everybody, their rotation and revocation for the admin."""

from collections.abc import Sequence

from litestar import Controller, Response, delete, get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct

from order_service.accounts.signing_keys import KeyView, SigningKeys
from order_service.domain import Command, OrderState
from shared.chassis.http.auth import admin_only
from shared.chassis.http.command_bus import CommandBus, json_reply
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import ServiceRequest

Keys = NamedDependency[SigningKeys]
Commands = NamedDependency[CommandBus[OrderState, Command]]
JwkSet = dict[str, list[dict[str, str]]]


KEPT_A_MINUTE = CacheControlHeader(public=True, max_age=60)


class KeyList(Struct, frozen=True, kw_only=True):
    """Every key that was published under the service's name."""

    items: Sequence[KeyView]


class KeyController(Controller):
    """The signing keys, for admins."""

    path = "/auth/keys"
    guards = (admin_only,)
    tags = ("signing keys",)

    @get("/")
    async def list_keys(self, keys: Keys) -> KeyList:
        """The keys that access tokens are signed with, oldest first, then foreign ones."""
        return KeyList(items=await keys.show())

    @post("/", responses={201: ResponseSpec(KeyView)})
    async def rotate_key(
        self, request: ServiceRequest, keys: Keys, commands: Commands
    ) -> Response[bytes]:
        """Publish a new key; it starts to sign a few seconds later. Tokens of the others stay valid."""
        async with keys.rotation() as rotation:
            return await commands.execute(
                request,
                rotation.command,
                lambda _: json_reply(201, rotation.view),
                extra_writes=rotation.store,
            )

    @delete("/{key_id:str}", status_code=200, responses=responses("unknown-key"))
    async def revoke_key(
        self, request: ServiceRequest, key_id: FromPath[str], keys: Keys
    ) -> KeyList:
        """Have every service refuse the key's tokens. A new key replaces the current one at once."""
        await keys.revoke(key_id, by=request.user.actor)
        return KeyList(items=await keys.show())


@get("/.well-known/jwks.json", cache_control=KEPT_A_MINUTE, tags=["signing keys"])
async def show_jwks(keys: Keys) -> JwkSet:
    """The public keys by which access tokens can be checked."""
    return keys.jwks


ROUTES = (KeyController, show_jwks)
