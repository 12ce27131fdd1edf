"""Events that every service needs to check access tokens, and those that check links in mails."""

from typing import Annotated, ClassVar

import msgspec

from shared.chassis.messages.event import Event, Id
from shared.chassis.messages.touches import id_of

# Base64url without padding. The length is exact, so every match decodes to 32 and 64 bytes.
PublicKey = Annotated[
    str, msgspec.Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")
]
Signature = Annotated[
    str, msgspec.Meta(min_length=86, max_length=86, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")
]


class SigningKeyEvent(Event, frozen=True, kw_only=True):
    """Published by the service that issues access tokens, and received by every service that accepts them."""

    ENTITY: ClassVar[str] = "key_id"

    key_id: Id


class SigningKeyPublished(SigningKeyEvent, frozen=True, kw_only=True):
    """An Ed25519 public key that access tokens are signed with.

    `signature` is made with the key `vouched_by`; the first key of all has neither (`shared/chassis/http/key_trust.py`).
    """

    public_key: PublicKey
    vouched_by: Id | None = None
    signature: Signature | None = None


class SigningKeyRevoked(SigningKeyEvent, frozen=True, kw_only=True):
    """The key is never trusted again; `signature` is made with the key `revoked_by`."""

    revoked_by: Id
    signature: Signature


class TokensRevoked(Event, frozen=True, kw_only=True):
    """No service accepts an access token of the user whose claim `ver` is lower than this version."""

    ENTITY: ClassVar[str] = "user_id"

    user_id: Annotated[Id, id_of("customer")]
    token_version: Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class LinkKeyPublished(Event, frozen=True, kw_only=True):
    """An Ed25519 public key that links in mails are signed with (`shared/chassis/http/links.py`)."""

    ENTITY: ClassVar[str] = "key_id"

    key_id: Id
    public_key: PublicKey


SIGNING_KEYS = (SigningKeyPublished, SigningKeyRevoked)
IDENTITY = (*SIGNING_KEYS, TokensRevoked)
"""Published by the service that issues access tokens, and consumed by every service."""
