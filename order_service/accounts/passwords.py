"""Argon2id hashes, computed on two threads behind a bounded queue: hashing is slow on purpose, and any caller may cause it."""

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret_raw

from shared.chassis.messages.rejection import Rejected

HASHES_AT_ONCE = 2
"""64 MiB each."""

MAX_WAITING = 16
"""Of each kind: the last one waits for about a second."""


T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords. Each method raises Rejected, `busy`, when too many wait already."""

    def __init__(self) -> None:
        # One thread for each hash: more would slow the event loop, which answers all other requests.
        self._hasher = PasswordHasher(parallelism=1)
        self._queue = _Queue()
        self._dummy_hash = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """A salted hash to store."""
        return await self._queue.registrations(partial(self._hasher.hash, password))

    async def matches(self, known_hash: str | None, password: str) -> bool:
        """Whether it is the password; with no hash to compare, the answer takes as long and is False."""
        verify = partial(self._verify, known_hash or self._dummy_hash, password)
        return await self._queue.sign_ins(verify) and known_hash is not None

    async def replace(self, password: str) -> str:
        """A hash for an authenticated customer, who does not wait for registrations."""
        return await self._queue.sign_ins(partial(self._hasher.hash, password))

    async def fingerprint(self, password: str, salt: str) -> str:
        """A deterministic digest of password and salt, which is as slow to guess as a hash."""
        digest = partial(
            hash_secret_raw,
            password.encode(),
            hashlib.sha256(salt.encode()).digest(),
            self._hasher.time_cost,
            self._hasher.memory_cost,
            self._hasher.parallelism,
            self._hasher.hash_len,
            self._hasher.type,
        )
        return (await self._queue.registrations(digest)).hex()

    def _verify(self, known_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(known_hash, password)
        except (VerificationError, InvalidHashError):
            return False


class _HashRequest(NamedTuple):
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class _Queue:
    """Computes hashes on threads, those of sign-ins first; a request whose caller is gone is dropped."""

    def __init__(self) -> None:
        self._sign_ins: deque[_HashRequest] = deque()
        self._registrations: deque[_HashRequest] = deque()
        self._running = 0

    async def sign_ins(self, work: Callable[[], T]) -> T:
        """Run it before all registrations."""
        return await self._submit(self._sign_ins, work)

    async def registrations(self, work: Callable[[], T]) -> T:
        """Run it when no sign-in waits."""
        return await self._submit(self._registrations, work)

    def _submit(self, lane: deque[_HashRequest], work: Callable[[], T]) -> asyncio.Future[T]:
        for request in [request for request in lane if request.done.cancelled()]:
            lane.remove(request)
        if len(lane) >= MAX_WAITING:
            raise Rejected(
                "busy",
                "too many passwords wait to be checked; try again",
            )
        request = _HashRequest(work, asyncio.get_running_loop().create_future())
        lane.append(request)
        self._start_waiting()
        return request.done

    def _start_waiting(self) -> None:
        while self._running < HASHES_AT_ONCE and (request := self._next()):
            self._running += 1
            thread = asyncio.ensure_future(asyncio.to_thread(request.work))
            thread.add_done_callback(partial(self._finish, request))

    def _next(self) -> _HashRequest | None:
        for lane in (self._sign_ins, self._registrations):
            while lane:
                request = lane.popleft()
                if not request.done.cancelled():
                    return request
        return None

    def _finish(self, request: _HashRequest, thread: asyncio.Future[Any]) -> None:
        self._running -= 1
        self._start_waiting()
        if request.done.cancelled():
            return
        if error := thread.exception():
            request.done.set_exception(error)
        else:
            request.done.set_result(thread.result())
