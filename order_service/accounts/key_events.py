"""Publishes the signing keys of access tokens to the other services."""

from msgspec import Struct

from shared.chassis.http.key_trust import PublishedKey, Revocation
from shared.chassis.messages.event import Event
from shared.chassis.messages.identity_events import SigningKeyPublished, SigningKeyRevoked


class PublishKeys(Struct, frozen=True, kw_only=True):
    """Publish these keys, each after the one that vouches for it, and then these revocations."""

    keys: tuple[PublishedKey, ...] = ()
    revocations: tuple[Revocation, ...] = ()


Command = PublishKeys


def decide(command: Command) -> list[Event]:
    """An event for each, even if it was published before: a consumer may have missed it."""
    published = [
        SigningKeyPublished(
            key_id=key.key_id,
            public_key=key.public_key,
            vouched_by=key.vouched_by,
            signature=key.signature,
        )
        for key in command.keys
    ]
    revoked = [
        SigningKeyRevoked(
            key_id=revocation.key_id,
            revoked_by=revocation.revoked_by,
            signature=revocation.signature,
        )
        for revocation in command.revocations
    ]
    return [*published, *revoked]
