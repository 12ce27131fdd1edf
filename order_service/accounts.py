"""Signing up, in and out; the first admin; and who tries too often."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from functools import partial

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret_raw
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from msgspec import Struct
from sqlalchemy import Connection

from order_service.domain.customers import Customer, RegisterCustomer
from order_service.signing_keys import SigningKeys
from order_service.store import credentials, customers
from order_service.tokens import ACCESS_SECONDS, new_refresh_token
from shared import clock
from shared.batch import Wish
from shared.refused import Refused
from shared.service import Service

HASHES_AT_ONCE = 2
"""Argon2id is meant to be slow and hungry: 64 MiB each."""

log = structlog.get_logger()


class Tokens(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a sign-in gives; `expires_in` seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = ACCESS_SECONDS


class Accounts:
    """Everything that needs a secret."""

    def __init__(self, service: Service, signing_keys: SigningKeys) -> None:
        self._service = service
        self._signing_keys = signing_keys
        self._hasher = PasswordHasher()
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._decoy = self._hasher.hash(secrets.token_urlsafe())
        self._attempts = Attempts(service.settings.login_attempts)

    async def prepare(self) -> None:
        """At every start: have an admin."""
        await self._ensure_admin()

    async def with_password(self, user_id: str, password: str) -> Callable[[Connection], None]:
        """What writes the password's hash beside the event that the customer is registered."""
        return partial(
            credentials.set_password,
            user_id=user_id,
            password_hash=await self._hash(password),
        )

    async def veil(self, password: str, salt: str) -> str:
        """The same each time for the same password, and as slow to guess as what we keep of it."""
        async with self._hashing:
            veiled = await asyncio.to_thread(
                hash_secret_raw,
                password.encode(),
                hashlib.sha256(salt.encode()).digest(),
                self._hasher.time_cost,
                self._hasher.memory_cost,
                self._hasher.parallelism,
                self._hasher.hash_len,
                self._hasher.type,
            )
        return veiled.hex()

    async def sign_in(self, email: str, password: str, address: str) -> Tokens:
        """Begin a new family of tokens. Raises Refused: `bad-credentials`, `too-many-attempts`."""
        self._attempts.count(email, address)
        customer, known_hash = await self._service.reads.run(partial(_find, email=email))
        # An unknown address takes as long as a wrong password: nobody learns who has an account.
        if not await self._matches(known_hash or self._decoy, password) or customer is None:
            raise Refused("bad-credentials", "e-mail or password is wrong", status=401)
        self._attempts.forgive(email)
        return await self._service.writer.aside(partial(self._issue, customer, clock.new_id()))

    async def refresh(self, refresh_token: str) -> Tokens:
        """The next pair of the family. A token used twice was stolen from somebody: the family ends.

        Raises Refused: `bad-refresh-token`.
        """
        tokens = await self._service.writer.aside(partial(self._rotate, refresh_token))
        if tokens is None:
            raise Refused(
                "bad-refresh-token", "unknown, expired, or used before: sign in again", status=401
            )
        return tokens

    async def sign_out(self, refresh_token: str) -> None:
        """End the token's family; an unknown one has ended already."""

        def end(connection: Connection) -> None:
            used = credentials.use_refresh_token(connection, credentials.digest(refresh_token))
            if used:
                credentials.end_family(connection, used.family_id)

        await self._service.writer.aside(end)

    async def change_password(self, user_id: str, current: str, new: str) -> None:
        """Prove the old, set the new, and end every sign-in. Raises Refused: `bad-credentials`."""
        self._attempts.count(user_id, user_id)
        known = await self._service.reads.run(partial(credentials.password_hash, user_id=user_id))
        if not await self._matches(known or self._decoy, current):
            raise Refused("bad-credentials", "the present password is wrong", status=403)
        new_hash = await self._hash(new)

        def change(connection: Connection) -> None:
            credentials.set_password(connection, user_id, new_hash)
            credentials.end_all_of(connection, user_id)

        await self._service.writer.aside(change)

    def _issue(self, customer: Customer, family_id: str, connection: Connection) -> Tokens:
        token, kept = new_refresh_token(customer.user_id, family_id)
        credentials.add_refresh_token(connection, kept)
        credentials.forget_expired(connection, clock.now())
        return Tokens(
            access_token=self._signing_keys.signer.access_token(customer), refresh_token=token
        )

    def _rotate(self, refresh_token: str, connection: Connection) -> Tokens | None:
        used = credentials.use_refresh_token(connection, credentials.digest(refresh_token))
        if used is None:
            return None
        if used.is_used or used.expires_at < clock.now():
            credentials.end_family(connection, used.family_id)
            return None
        customer = customers.load(connection, [used.user_id])[used.user_id]
        return self._issue(customer, used.family_id, connection)

    async def _ensure_admin(self) -> None:
        if await self._service.database.run(customers.has_admin):
            return
        settings = self._service.settings
        email = settings.admin_email.lower()
        password = settings.admin_password or secrets.token_urlsafe(12)
        if settings.admin_password is None:
            # Before it holds, for nobody must be locked out by a crash; and so high that no log level hides it.
            log.critical("admin.created", email=email, password=password, shown="only now")
        user_id = clock.new_id()
        command = RegisterCustomer(user_id=user_id, email=email, name="Admin", role="admin")
        also = await self.with_password(user_id, password)
        await self._service.writer.execute(Wish(command, also=also))

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _matches(self, known_hash: str, password: str) -> bool:
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, known_hash, password)
            except (VerificationError, InvalidHashError):
                return False


class Attempts:
    """Counts sign-ins per account and per address, over a window that moves; a restart forgets."""

    def __init__(self, most: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._per_account = parse(f"{most} per 5 minutes")
        self._per_address = parse(f"{10 * most} per 5 minutes")

    def count(self, account: str, address: str) -> None:
        """One more. Raises Refused: `too-many-attempts`."""
        for limit, kind, who in (
            (self._per_address, "address", address),
            (self._per_account, "account", account),
        ):
            if not self._limiter.hit(limit, kind, who):
                reset_at = self._limiter.get_window_stats(limit, kind, who).reset_time
                seconds = max(1, round(reset_at - clock.now().timestamp()))
                raise Refused(
                    "too-many-attempts",
                    f"too many sign-ins of this {kind}; try again in {seconds} s",
                    status=429,
                    headers={"Retry-After": str(seconds)},
                )

    def forgive(self, account: str) -> None:
        """He knew the password: the account starts afresh."""
        self._limiter.clear(self._per_account, "account", account)


def _find(connection: Connection, email: str) -> tuple[Customer | None, str | None]:
    """The customer of this address, and the hash of his password."""
    found = customers.load(connection, [], [email])
    for customer in found.values():
        return customer, credentials.password_hash(connection, customer.user_id)
    return None, None
