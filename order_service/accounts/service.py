"""Signing up, in and out, and the first admin."""

import secrets
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import Connection

from order_service.accounts import credentials, emails, refresh_tokens, sessions, store
from order_service.accounts.domain import (
    ChangePassword,
    Customer,
    RegisterCustomer,
    wrong_password,
)
from order_service.accounts.login_limiter import LoginLimiter
from order_service.accounts.password_rules import weakness
from order_service.accounts.passwords import Passwords
from order_service.accounts.signing_keys import SigningKeys
from order_service.accounts.tokens import ACCESS_SECONDS, access_token
from order_service.domain import Command, OrderState
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.http.auth import Caller
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.http.rate_limits import Limit
from shared.chassis.messages import actor, clock
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service
from shared.chassis.secret_file import write_secret
from shared.settings import ShopSettings

PASSWORD_FILE = "admin-password"  # noqa: S105 - a name
"""In the data directory: the generated password of the first admin; to be deleted after the first sign-in."""

IGNORED_WARNING = (
    "QUADRILLE_ADMIN_PASSWORD is ignored: there is an admin already, with another password; "
    "change it with: quadrille admin password"
)

log = structlog.get_logger()


class Tokens(Struct, frozen=True, kw_only=True, rename="camel"):
    """The response to a sign-in; `expires_in` seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = ACCESS_SECONDS


class Accounts:
    """Sign-up, sign-in and password changes: whatever involves passwords or tokens."""

    def __init__(
        self,
        service: Service[OrderState, Command],
        settings: ShopSettings,
        signing_keys: SigningKeys,
    ) -> None:
        self._service = service
        self._settings = settings
        self._signing_keys = signing_keys
        self.passwords = Passwords()
        self._attempts = LoginLimiter(service.limits)
        self.warnings: list[str] = []
        """What an operator should look at although the service works."""

    async def prepare(self) -> None:
        """At every start: create the first admin, if there is none."""
        await self._ensure_admin()

    async def with_password(self, user_id: str, password: str) -> Callable[[Connection], None]:
        """Stores the password's hash, in the transaction that registers the customer."""
        return partial(
            credentials.set_password,
            user_id=user_id,
            password_hash=await self.passwords.hash(password),
        )

    async def is_taken(self, email: str) -> bool:
        """Whether an account has this address: then no password needs to be hashed."""
        customer, _ = await self._service.reads.run(partial(_find, email=email))
        return customer is not None

    async def sign_in(self, email: str, password: str, address: str) -> Tokens:
        """Start a session. Raises Rejected: `bad-credentials`, `too-many-attempts`, `busy`."""
        limits = self._service.limits
        limits.check((Limit.SIGN_INS_PER_ACCOUNT, email))
        attempt = self._attempts.begin(email, address)
        try:
            customer, known_hash = await self._service.reads.run(partial(_find, email=email))
            # An unknown address takes as long as a wrong password: the response time does not reveal accounts.
            is_right = await self.passwords.matches(known_hash, password)
        except Exception:
            self._attempts.withdraw(attempt)
            raise
        if not is_right or customer is None or known_hash is None:
            raise _bad_credentials()
        self._attempts.succeed(email, address, attempt)
        limits.take((Limit.SIGN_INS_PER_ACCOUNT, email))
        tokens = await self._service.writer.run_for_client(
            partial(self._begin, customer.user_id, known_hash)
        )
        if tokens is None:
            raise _bad_credentials()
        return tokens

    async def refresh(self, refresh_token: str, address: str) -> Tokens:
        """The session's next tokens. A refresh token that is used twice may be stolen: the session ends.

        Raises Rejected: `bad-refresh-token`, `too-many-requests`.
        """
        self._service.limits.take(
            (Limit.REFRESHES_PER_ADDRESS, address),
            (Limit.REFRESHES_PER_SESSION, refresh_tokens.session_id_of(refresh_token)),
        )
        exchanged = await self._service.writer.run_for_client(
            partial(self._exchange, refresh_token)
        )
        if exchanged is None:
            raise Rejected("bad-refresh-token", "unknown, expired, or used before: sign in again")
        customer, tokens = exchanged
        self._attempts.note_owner(customer.email, address)
        return tokens

    async def sign_out(self, refresh_token: str, address: str) -> None:
        """End the token's session, if it has not ended already. Raises Rejected."""
        self._service.limits.take((Limit.REFRESHES_PER_ADDRESS, address))
        session_id = refresh_tokens.session_id_of(refresh_token)
        await self._service.writer.run_for_client(partial(sessions.end, session_id=session_id))

    async def change_password(self, caller: Caller, current: str, new: str, address: str) -> None:
        """Check the caller's current password, set the new one, and end every session and access token.

        Raises Rejected as `with_right_password`; BadRequest.
        """
        customer = await self.with_right_password(caller, current, address)
        if wrong := weakness(new, customer.email):
            raise BadRequest(FieldError(field="newPassword", message=wrong))
        new_hash = await self.passwords.replace(new)
        command = ChangePassword(user_id=customer.user_id, token_version=customer.token_version)
        replace = partial(replace_password, user_id=customer.user_id, new_hash=new_hash)
        await self._service.writer.execute(
            CommandEnvelope(command, actor=caller.actor, extra_writes=replace)
        )

    async def with_right_password(self, caller: Caller, password: str, address: str) -> Customer:
        """The caller's account, if this is its password. Raises Rejected: `wrong-password`, `too-many-attempts`, `busy`."""
        user_id = caller.user_id or ""
        attempt = self._attempts.begin(user_id, address)
        try:
            customer, known_hash = await self._service.reads.run(partial(_load, user_id=user_id))
            is_right = await self.passwords.matches(known_hash, password)
        except Exception:
            self._attempts.withdraw(attempt)
            raise
        if not is_right or customer is None or known_hash is None:
            raise wrong_password()
        self._attempts.succeed(user_id, address, attempt)
        return customer

    def _begin(self, user_id: str, verified_hash: str, connection: Connection) -> Tokens | None:
        """Tokens of a new session, unless the password was changed while it was checked."""
        customer, present_hash = _load(connection, user_id)
        if customer is None or present_hash != verified_hash:
            return None
        token, session = refresh_tokens.new_session(user_id)
        sessions.save(connection, session)
        return self._tokens(customer, token)

    def _exchange(
        self, refresh_token: str, connection: Connection
    ) -> tuple[Customer, Tokens] | None:
        session = sessions.find(connection, refresh_tokens.session_id_of(refresh_token))
        if session is None:
            return None
        customer = store.find(connection, session.user_id)
        if customer is None or refresh_tokens.is_expired(session):
            sessions.end(connection, session.session_id)
            return None
        if refresh_tokens.is_good(session, refresh_token):
            successor = refresh_tokens.next_token(session)
            tokens = self._tokens(customer, successor)
            answer = msgspec.json.encode(tokens)
            sessions.save(
                connection,
                refresh_tokens.exchanged(session, refresh_token, successor, answer),
            )
            return customer, tokens
        if again := refresh_tokens.answer_again(session, refresh_token):
            return customer, msgspec.json.decode(again, type=Tokens)
        sessions.end(connection, session.session_id)
        return None

    def _tokens(self, customer: Customer, refresh_token: str) -> Tokens:
        token = access_token(self._signing_keys.signer, customer)
        return Tokens(access_token=token, refresh_token=refresh_token)

    async def _ensure_admin(self) -> None:
        if await self._service.database.run(store.has_admin):
            await self._warn_of_ignored_password()
            return
        settings = self._settings
        email = emails.canonical(settings.admin_email)
        password = settings.admin_password or secrets.token_urlsafe(12)
        if settings.admin_password is None:
            path = settings.data_dir / PASSWORD_FILE
            write_secret(path, password)  # before the commit, so that a crash cannot lose it
            log.critical("admin.created", email=email, password_file=str(path))
        user_id = clock.new_id()
        command = RegisterCustomer(user_id=user_id, email=email, name="Admin", role="admin")
        also = await self.with_password(user_id, password)
        await self._service.writer.execute(
            CommandEnvelope(command, actor=actor.SERVICE, extra_writes=also)
        )

    async def _warn_of_ignored_password(self) -> None:
        """If the configured password is not that of the account: an existing account keeps its own."""
        password = self._settings.admin_password
        if password is None:
            return
        email = emails.canonical(self._settings.admin_email)
        _, known_hash = await self._service.reads.run(partial(_find, email=email))
        if not await self.passwords.matches(known_hash, password):
            self.warnings = [IGNORED_WARNING]
            log.warning("admin_password.ignored", email=email, reason=IGNORED_WARNING)


def _find(connection: Connection, email: str) -> tuple[Customer | None, str | None]:
    """The customer of this address, and the hash of their password."""
    customer = store.find_by_email(connection, email)
    if customer is None:
        return None, None
    return customer, credentials.password_hash(connection, customer.user_id)


def _load(connection: Connection, user_id: str) -> tuple[Customer | None, str | None]:
    """The customer of this id, and the hash of their password."""
    customer = store.find(connection, user_id)
    return customer, credentials.password_hash(connection, user_id)


def _bad_credentials() -> Rejected:
    return Rejected("bad-credentials", "e-mail or password is wrong")


def replace_password(connection: Connection, user_id: str, new_hash: str) -> None:
    """Set it, and end the sessions that were started with the old one."""
    credentials.set_password(connection, user_id, new_hash)
    sessions.end_all_of(connection, user_id)
