"""Commands from HTTP to the writer, each with a durable response and carried out once per `Idempotency-Key`."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from sqlalchemy import Connection

from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.engine.writer import Committed, Writer
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.http.protocol import IS_DISCONNECTED
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.rejection import Rejected
from shared.chassis.storage.idempotency import (
    GUESTS,
    MAX_KEY_LENGTH,
    MIN_GUEST_KEY_LENGTH,
    IdempotencyKey,
    Reply,
)

T = TypeVar("T")
State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")


class CommandBus(Generic[State, Command]):
    """Executes commands for HTTP handlers."""

    def __init__(self, source: str, writer: Writer[State, Command]) -> None:
        self._source = source
        self._writer = writer
        self._in_flight: set[str] = set()

    async def execute(
        self,
        request: ServiceRequest,
        command: Command,
        respond: Callable[[State], Reply],
        *,
        extra_writes: Callable[[Connection], None] | None = None,
        fingerprint_source: bytes | None = None,
        actor: str | None = None,
        precondition: Callable[[State], None] | None = None,
    ) -> Response[bytes]:
        """Commit what the command decides, then send what `respond` makes of the state right after it.

        `extra_writes` runs in the same transaction, for tables that the rules do not know. An idempotency key is
        stored with a digest of the body, or of `fingerprint_source` if the body holds a secret that could be guessed
        from its digest. `actor` is who asks for the command, unless it is the caller.
        `precondition` is called with the state before, and raises Rejected.

        Raises Rejected, BadRequest for an unusable key, StorageUnavailable.
        """
        key = await _idempotency_key(request, fingerprint_source)
        envelope = CommandEnvelope(
            command=command,
            respond=respond,
            idempotency_key=key,
            traceparent=request.headers.get("traceparent"),
            actor=actor or request.user.actor,
            precondition=precondition,
            extra_writes=extra_writes,
            is_abandoned=request.scope["state"].get(IS_DISCONNECTED),
        )
        if key is None:
            return self._response(await self._writer.execute(envelope))
        if key.name in self._in_flight:
            raise Rejected(
                "request-in-flight", f"a request with Idempotency-Key {key.key!r} is under way"
            )
        self._in_flight.add(key.name)
        try:
            return self._response(await self._writer.execute(envelope))
        finally:
            self._in_flight.discard(key.name)

    def _response(self, committed: Committed) -> Response[bytes]:
        reply = committed.reply
        if reply is None:
            return Response(b"", status_code=204)
        headers = {"Consistency-Token": f"{self._source}:{committed.position}"}
        if reply.location:
            headers["Location"] = reply.location
        if reply.etag:
            headers["ETag"] = reply.etag
        if reply.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(
            reply.body, status_code=reply.status, headers=headers, media_type="application/json"
        )


def json_reply(
    status: int, content: object, *, location: str | None = None, etag: str | None = None
) -> Reply:
    """A command's response in the form that is stored under its idempotency key."""
    return Reply(status=status, body=msgspec.json.encode(content), location=location, etag=etag)


def response_key(request: ServiceRequest) -> str | None:
    """The name that the response to this request is stored under; None without an `Idempotency-Key`.

    Raises BadRequest.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    min_length = MIN_GUEST_KEY_LENGTH if request.user.is_guest else 1
    if not min_length <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        message = f"expected {min_length} to {MAX_KEY_LENGTH} printable characters"
        if request.user.is_guest:
            message += " that nobody can guess, such as a UUID, since you are not signed in"
        raise BadRequest(FieldError(field="Idempotency-Key", message=message))
    return f"{request.user.user_id or GUESTS}\n{key}"


async def _idempotency_key(
    request: ServiceRequest, fingerprint_source: bytes | None
) -> IdempotencyKey | None:
    name = response_key(request)
    if name is None:
        return None
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    digest.update(await request.body() if fingerprint_source is None else fingerprint_source)
    return IdempotencyKey(name=name, fingerprint=digest.hexdigest())


async def while_connected(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client disconnects. The body must have been read.

    Raises Rejected: `client-gone`.
    """
    working = asyncio.create_task(work)
    disconnecting = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Rejected("client-gone", "the client has disconnected")
        return working.result()
    finally:
        working.cancel()
        disconnecting.cancel()


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
