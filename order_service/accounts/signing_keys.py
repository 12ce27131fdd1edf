"""The keys that access tokens are signed with: published, rotated and revoked.

Every key but the first is vouched for by the key in use when it was made, so services that trust one key come to
trust all. See docs/decisions/0003.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from order_service.accounts import private_keys as store
from order_service.accounts.key_events import PublishKeys
from order_service.accounts.private_keys import PrivateKey
from order_service.domain import Command, OrderState
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.errors import FatalError
from shared.chassis.http import signing_keys
from shared.chassis.http.key_trust import (
    KeyRing,
    PublishedKey,
    Revocation,
    Trust,
    revocation_statement,
    voucher_statement,
)
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages import actor, clock
from shared.chassis.messages.rejection import Rejected
from shared.chassis.runtime.service import Service

OVERLAP_SECONDS = 10
"""How long after its publication a new key starts to sign. Until then the other services receive it.

Longer than the relay waits for the broker: by then it reports a backlog if the key was not sent.
"""


class KeyStatus(StrEnum):
    CURRENT = "CURRENT"
    NEXT = "NEXT"
    """Published; it signs from `signsFrom` on."""
    PREVIOUS = "PREVIOUS"
    """It no longer signs; tokens signed with it are accepted until they expire."""
    REVOKED = "REVOKED"
    UNTRUSTED = "UNTRUSTED"
    """Published under the name of this service, which has not recorded it."""


FOREIGN_STATUS = {
    Trust.TRUSTED: KeyStatus.PREVIOUS,  # its private key is lost, as in a restored database
    Trust.UNTRUSTED: KeyStatus.UNTRUSTED,
    Trust.REVOKED: KeyStatus.REVOKED,
}


class KeyView(Struct, frozen=True, kw_only=True, rename="camel"):
    """A key as the admin sees it; a foreign key has no times."""

    key_id: str
    public_key: str
    status: KeyStatus
    vouched_by: str | None = None
    created_at: datetime | None = None
    signs_from: datetime | None = None


class OwnKey(NamedTuple):
    """A key of this service."""

    signer: TokenSigner
    published: PublishedKey
    created_at: datetime
    signs_from: datetime

    @property
    def is_revoked(self) -> bool:
        """Whether its tokens are refused."""
        return self.published.trust is Trust.REVOKED


class Rotation(NamedTuple):
    """A new key, ready to be published."""

    command: PublishKeys
    store: partial[None]
    view: KeyView


class SigningKeys:
    """The service's signing keys, cached from the database."""

    def __init__(self, service: Service[OrderState, Command]) -> None:
        self._service = service
        self._own: list[OwnKey] = []
        self._ring = KeyRing()
        self._current_id = ""
        self._changing = asyncio.Lock()

    @property
    def signer(self) -> TokenSigner:
        """The key for the next token."""
        return self._in_use().signer

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The JWK set that tokens are verified with: all valid keys."""
        return {"keys": [own.signer.jwk for own in self._own if not own.is_revoked]}

    async def prepare(self) -> None:
        """At every start: create the first key, and publish all keys again for services that missed an event.

        Raises FatalError if the private keys are lost: the other services would trust no new key.
        """
        await self._reload()
        if not self._can_sign():
            raise FatalError(
                f"{self._service.database.url.database} has no private key that the other services "
                "trust, as after its loss: restore a copy that has one, or stop all services and "
                "run: quadrille reset-keys"
            )
        if self._own:
            await self._publish(
                PublishKeys(
                    keys=tuple(own.published for own in self._own),
                    revocations=tuple(map(self._revocation, self._revoked_ids())),
                )
            )
        else:
            signer = TokenSigner.generate()
            first = PublishedKey(
                key_id=signer.key_id, public_key=signer.public_key, trust=Trust.TRUSTED
            )
            keep = partial(store.add, key=_row(signer, signs_from=clock.now()))
            await self._publish(PublishKeys(keys=(first,)), keep)

    async def show(self) -> list[KeyView]:
        """All keys that were published under the service's name, its own first."""
        await self._reload()
        own = {own.signer.key_id: own for own in self._own}
        foreign = [
            KeyView(
                key_id=key.key_id,
                public_key=key.public_key,
                status=FOREIGN_STATUS[key.trust],
                vouched_by=key.vouched_by,
            )
            for key in self._ring.keys.values()
            if key.key_id not in own or key != own[key.key_id].published
        ]
        return [*map(self._view, self._own), *foreign]

    @asynccontextmanager
    async def rotation(self) -> AsyncIterator[Rotation]:
        """A new key, to be published within the context; no other key changes meanwhile."""
        async with self._changing:
            signs_from = clock.now() + timedelta(seconds=OVERLAP_SECONDS)
            signer, published = self._new_key()
            row = _row(signer, signs_from)
            view = self._view(OwnKey(signer, published, row.created_at, row.signs_from))
            try:
                yield Rotation(PublishKeys(keys=(published,)), partial(store.add, key=row), view)
            finally:
                await self._reload()

    async def revoke(self, key_id: str, *, by: str) -> None:
        """Revoke the key in every service, for the actor `by`; the current one is replaced at once.

        Raises Rejected: `unknown-key`.
        """
        async with self._changing:
            await self._reload()
            if not self._ring.has(key_id):
                raise Rejected("unknown-key", f"there is no signing key {key_id}")
            if self._ring.is_revoked(key_id):
                return
            if key_id == self.signer.key_id:
                await self._replace_current(by)
            else:
                await self._publish(PublishKeys(revocations=(self._revocation(key_id),)), by=by)

    async def _replace_current(self, by: str) -> None:
        """Revoke the current key, and sign with the next or a new one without delay.

        The key is published before the revocation, so a service that refuses the old key knows the new one.
        """
        current = self._in_use().signer.key_id
        now = clock.now()
        keys: tuple[PublishedKey, ...] = ()
        pending = [own for own in self._own if own.signs_from > now and not own.is_revoked]
        if pending:
            successor = pending[-1].signer
            keep = partial(store.sign_from, key_id=successor.key_id, moment=now)
        else:
            successor, published = self._new_key()
            keys = (published,)
            keep = partial(store.add, key=_row(successor, signs_from=now))
        revocation = self._revocation(current, by=successor)
        await self._publish(PublishKeys(keys=keys, revocations=(revocation,)), keep, by=by)

    def _can_sign(self) -> bool:
        """Whether an own key may sign now, or the first one would be trusted."""
        if any(key.trust is not Trust.UNTRUSTED for key in self._ring.keys.values()):
            return any(self._usable())
        return True

    def _usable(self) -> list[OwnKey]:
        now = clock.now()
        return [own for own in self._own if own.signs_from <= now and not own.is_revoked]

    def _in_use(self) -> OwnKey:
        """The newest key that may sign. While the broker takes no events, no key replaces the one before."""
        usable = self._usable()
        if self._service.relay.backlog:
            usable = [own for own in usable if own.signer.key_id == self._current_id] or usable
        self._current_id = usable[-1].signer.key_id
        return usable[-1]

    def _new_key(self) -> tuple[TokenSigner, PublishedKey]:
        signer, current = TokenSigner.generate(), self.signer
        return signer, PublishedKey(
            key_id=signer.key_id,
            public_key=signer.public_key,
            trust=Trust.TRUSTED,
            vouched_by=current.key_id,
            signature=current.sign(voucher_statement(signer.key_id, signer.public_key)),
        )

    def _revocation(self, key_id: str, by: TokenSigner | None = None) -> Revocation:
        """Signed with the current key, which a service that has missed older ones will trust."""
        signer = by or self.signer
        signature = signer.sign(revocation_statement(key_id))
        return Revocation(key_id=key_id, revoked_by=signer.key_id, signature=signature)

    def _revoked_ids(self) -> list[str]:
        revocations = self._ring.revocations.values()
        return sorted({revocation.key_id for revocation in revocations if revocation.is_proven})

    async def _publish(
        self, command: PublishKeys, keep: partial[None] | None = None, *, by: str = actor.SERVICE
    ) -> None:
        await self._service.writer.execute(CommandEnvelope(command, actor=by, extra_writes=keep))
        await self._reload()

    async def _reload(self) -> None:
        rows, self._ring = await self._service.reads.run(_load)
        keys = self._ring.keys
        signers = [(row, TokenSigner.from_pem(row.key_id, row.private_key)) for row in rows]
        self._own = [
            OwnKey(signer, keys[row.key_id, signer.public_key], row.created_at, row.signs_from)
            for row, signer in signers
        ]

    def _view(self, own: OwnKey) -> KeyView:
        return KeyView(
            key_id=own.signer.key_id,
            public_key=own.signer.public_key,
            status=self._status(own),
            vouched_by=own.published.vouched_by,
            created_at=own.created_at,
            signs_from=own.signs_from,
        )

    def _status(self, own: OwnKey) -> KeyStatus:
        current = self._in_use()
        if own.is_revoked:
            return KeyStatus.REVOKED
        if own.signer.key_id == current.signer.key_id:
            return KeyStatus.CURRENT
        return KeyStatus.NEXT if own.signs_from > current.signs_from else KeyStatus.PREVIOUS


def _load(connection: Connection) -> tuple[list[PrivateKey], KeyRing]:
    return store.read_all(connection), signing_keys.load(connection)


def _row(signer: TokenSigner, signs_from: datetime) -> PrivateKey:
    return PrivateKey(
        key_id=signer.key_id,
        private_key=signer.to_pem(),
        created_at=clock.now(),
        signs_from=signs_from,
    )
