"""What every HTTP API of the shop shares: strict bodies, limits, health, and commands with a durable answer."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Reference, Schema
from litestar.types import ControllerRouterHandler, LifespanHook
from litestar.typing import FieldDefinition
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.engine.writer import Committed, Writer
from shared.chassis.errors import FatalError
from shared.chassis.http import openapi
from shared.chassis.http.auth import PublicKeys, authentication
from shared.chassis.http.problems import HANDLERS, BadRequest, FieldError, field_error
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.idempotency import (
    GUESTS,
    MAX_KEY_LENGTH,
    MIN_GUEST_KEY_LENGTH,
    IdempotencyKey,
    Reply,
)
from shared.settings import Settings, listed

MAX_BODY_BYTES = 1024 * 1024

EXPOSED_HEADERS = ["Consistency-Token", "Idempotent-Replayed", "Location", "Retry-After"]
"""What a page of another origin may read of an answer."""

T = TypeVar("T")


class Body(AbstractDTO[T]):
    """A JSON body read strictly: no coercion, no unknown fields; `dto=Body[PlaceOrder]` on a route.

    Raises BadRequest naming the field.
    """

    def decode_bytes(self, value: bytes) -> T:
        """The body as the route's struct."""
        return read_body(value, self.model_type)

    def data_to_encodable_type(self, data: Any) -> Any:  # noqa: ANN401 - as Litestar has it
        """An answer of the same type as it is."""
        return data

    @classmethod
    def create_for_field_definition(cls, *_: object, **__: object) -> None:
        """Nothing to generate: msgspec reads the struct itself."""

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003
        schema_creator: Any,  # noqa: ANN401 - private to Litestar
    ) -> Reference | Schema:
        """The struct's own schema, also where the body may be left out: `null` is none."""
        body = field_definition
        if body.is_optional:
            body = next(each for each in body.inner_types if not each.is_none_type)
        schema: Reference | Schema = schema_creator.for_field_definition(body)
        return schema

    @classmethod
    def generate_field_definitions(
        cls,
        model_type: type[Any],  # noqa: ARG003
    ) -> Generator[DTOFieldDefinition, None, None]:
        """None: fields are msgspec's business."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        """Nested structs are msgspec's business too."""
        return False


def read_body(body: bytes, wanted: type[T]) -> T:
    """The JSON in `body` as `wanted`. Raises BadRequest naming the field."""
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError as error:
        raise BadRequest(field_error(error)) from error
    except msgspec.DecodeError as error:
        raise BadRequest(FieldError(field="body", message=f"not JSON: {error}")) from error
    except UnicodeDecodeError as error:
        raise BadRequest(FieldError(field="body", message="not UTF-8")) from error


class Ready(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the service does its work, and if not, what it waits for."""

    status: str
    waiting_for: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What an operator should look at, though the service works."""


class CommandBus:
    """Carries commands from HTTP to the writer, once for each `Idempotency-Key`."""

    def __init__(self, source: str, writer: Writer) -> None:
        self._source = source
        self._writer = writer
        self._in_flight: set[str] = set()

    async def execute(
        self,
        request: Request[Any, Any, Any],
        command: object,
        answer: Callable[[Any], Reply],
        *,
        also: Callable[[Connection], None] | None = None,
        stands_for: bytes | None = None,
    ) -> Response[bytes]:
        """Do it durably, and answer what `answer` makes of the state right after it.

        `also` writes what the rules do not know of, in the same transaction. What a key was used for is kept as
        a digest of the body, or of `stands_for` where a secret in the body could be guessed from it.

        Raises Rejected, BadRequest for an unusable key, StorageUnavailable.
        """
        claim = await _claim(request, stands_for)
        wish = CommandEnvelope(
            command=command,
            answer=answer,
            claim=claim,
            traceparent=request.headers.get("traceparent"),
            also=also,
        )
        if claim is None:
            return self._answered(await self._writer.execute(wish))
        if claim.name in self._in_flight:
            raise Rejected(
                "request-in-flight", f"a request with Idempotency-Key {claim.key!r} is under way"
            )
        self._in_flight.add(claim.name)
        try:
            return self._answered(await self._writer.execute(wish))
        finally:
            self._in_flight.discard(claim.name)

    def _answered(self, committed: Committed) -> Response[bytes]:
        answer = committed.reply
        if answer is None:
            return Response(b"", status_code=204)
        headers = {"Consistency-Token": f"{self._source}:{committed.position}"}
        if answer.location:
            headers["Location"] = answer.location
        if answer.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(
            answer.body, status_code=answer.status, headers=headers, media_type="application/json"
        )


async def while_connected(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up before. Call it with the body read."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Rejected("client-gone", "the client has hung up", status=408)
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def reply(status: int, content: object, *, location: str | None = None) -> Reply:
    """The answer to a command, ready to be kept under its key."""
    return Reply(status=status, body=msgspec.json.encode(content), location=location)


def build_app(
    title: str,
    routes: Sequence[ControllerRouterHandler],
    *,
    settings: Settings,
    keys: PublicKeys,
    waiting_for: Callable[[], list[str]],
    warnings: Callable[[], list[str]] = list,
    on_startup: Sequence[Callable[[], Awaitable[None]]],
    on_shutdown: LifespanHook,
    on_stopping: Callable[[], None] | None = None,
) -> Litestar:
    """The service's ASGI application, with health routes, OpenAPI at `/schema` and problem details.

    `on_stopping` is called as soon as the process is asked to stop: it ends answers that would last for ever, and
    `on_shutdown` once all are given.
    """

    @get("/health/live", tags=["health"], sync_to_thread=False)
    def live() -> Ready:
        """Answers as long as the process runs."""
        return Ready(status="live")

    @get(
        "/health/ready",
        tags=["health"],
        responses={503: ResponseSpec(Ready, description="Waits for something")},
    )
    async def ready() -> Response[Ready]:
        """200 when the service does its work; 503 with what it waits for."""
        notes = [*await keys.warnings(), *warnings()]
        if reasons := waiting_for():
            waiting = Ready(status="waiting", waiting_for=reasons, warnings=notes)
            return Response(waiting, status_code=503)
        return Response(Ready(status="ready", warnings=notes))

    app = Litestar(
        route_handlers=[live, ready, *routes],
        exception_handlers=HANDLERS,
        middleware=[authentication(keys)],
        cors_config=_cors(settings.cors_origins),
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi.config(title),
        plugins=[openapi.StrictStructs()],
        on_startup=[_or_exit(title, hook) for hook in on_startup],
        on_shutdown=[on_shutdown],
        state=State({"on_stopping": on_stopping}),
    )
    openapi.describe(app)
    return app


def _or_exit(title: str, start: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Start, or end the process with one plain sentence: a database that can not be opened is no mystery."""

    async def attempt() -> None:
        try:
            await start()
        except FatalError as error:
            _exit(f"{title}: {error}")
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            _exit(f"{title}: the database cannot be opened: {reason}")

    return attempt


def _exit(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)  # noqa: T201
    sys.stderr.flush()
    os._exit(1)


def _cors(origins: str) -> CORSConfig | None:
    allowed = listed(origins)
    if not allowed:
        return None
    return CORSConfig(allow_origins=allowed, expose_headers=EXPOSED_HEADERS)


def claim_name(request: Request[Any, Any, Any]) -> str | None:
    """Under which an answer to this request is kept; None without an `Idempotency-Key`. Raises BadRequest."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    least = MIN_GUEST_KEY_LENGTH if request.user.is_guest else 1
    if not least <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        wrong = f"expected {least} to {MAX_KEY_LENGTH} printable characters"
        if request.user.is_guest:
            wrong += " that nobody can guess, such as a UUID, since you are not signed in"
        raise BadRequest(FieldError(field="Idempotency-Key", message=wrong))
    return f"{request.user.user_id or GUESTS}\n{key}"


async def _claim(
    request: Request[Any, Any, Any], stands_for: bytes | None
) -> IdempotencyKey | None:
    name = claim_name(request)
    if name is None:
        return None
    content = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    content.update(await request.body() if stands_for is None else stands_for)
    return IdempotencyKey(name=name, fingerprint=content.hexdigest())
