"""Events about the keys that access tokens are signed with."""

from typing import Annotated, ClassVar

import msgspec

from shared.chassis.messages.event import Event, Id

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


IDENTITY = (SigningKeyPublished, SigningKeyRevoked)
