"""Which signing keys a service trusts: a pure function of the key events that it has received.

The first key without a voucher is pinned. Another key is trusted if a trusted key has signed it, and never again
once another trusted key has signed its revocation. What cannot be proven yet is kept, so that the order of arrival
does not matter.
"""

from collections.abc import Mapping
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode
from msgspec import Struct
from msgspec.structs import replace

from shared.chassis.messages.identity_events import SigningKeyPublished, SigningKeyRevoked

MAX_UNPROVEN = 32
"""Untrusted keys, and as many unproven revocations: one who can publish must not be able to fill the database."""

KeyEvent = SigningKeyPublished | SigningKeyRevoked


class Trust(StrEnum):
    """Whether tokens signed with a key are accepted."""

    TRUSTED = "TRUSTED"
    UNTRUSTED = "UNTRUSTED"
    """No trusted key has signed it; it becomes TRUSTED when the key that vouches for it does."""
    REVOKED = "REVOKED"


class PublishedKey(Struct, frozen=True, kw_only=True):
    """A public key. At most one key of an id is ever trusted."""

    key_id: str
    public_key: str
    trust: Trust
    vouched_by: str | None = None
    signature: str | None = None


class Revocation(Struct, frozen=True, kw_only=True):
    """A statement that a key must not be trusted; not proven until the key that signed it is trusted."""

    key_id: str
    revoked_by: str
    signature: str
    is_proven: bool = False


class KeyRing(Struct, frozen=True, kw_only=True):
    """All signing keys and revocations that a service has received."""

    keys: Mapping[tuple[str, str], PublishedKey] = {}
    """By key id and public key: a forged key may claim the id of a genuine one."""
    revocations: Mapping[tuple[str, str], Revocation] = {}
    """By the id of the revoked key and of the revoking one."""

    def trusted(self, key_id: str | None) -> PublishedKey | None:
        """The trusted key of that id."""
        return next((key for key in self._with_id(key_id) if key.trust is Trust.TRUSTED), None)

    def is_revoked(self, key_id: str) -> bool:
        """Whether a key of that id will never be trusted again."""
        revocations = self.revocations.values()
        return any(row.is_proven and row.key_id == key_id for row in revocations)

    def has(self, key_id: str) -> bool:
        """Whether a key of that id was published."""
        return any(self._with_id(key_id))

    def _with_id(self, key_id: str | None) -> list[PublishedKey]:
        return [key for key in self.keys.values() if key.key_id == key_id]


def voucher_statement(key_id: str, public_key: str) -> bytes:
    """What a trusted key signs to vouch for another.

    Neither part contains a newline, and no JWT begins like this, so the signature is valid for nothing else.
    """
    return f"quadrille:signing-key:published:1\n{key_id}\n{public_key}".encode()


def revocation_statement(key_id: str) -> bytes:
    """What a trusted key signs to revoke another."""
    return f"quadrille:signing-key:revoked:1\n{key_id}".encode()


def learn(ring: KeyRing, event: KeyEvent) -> KeyRing:
    """The ring after the event; the same one if it changes nothing."""
    if isinstance(event, SigningKeyPublished):
        return _prove_pending(_with_key(ring, event))
    return _prove_pending(_with_revocation(ring, event))


def distrust(ring: KeyRing, event: KeyEvent) -> KeyRing:
    """The ring after a forged event: its key is stored for the admin to see, and never trusted."""
    if not isinstance(event, SigningKeyPublished) or ring.is_revoked(event.key_id):
        return ring
    forged = PublishedKey(key_id=event.key_id, public_key=event.public_key, trust=Trust.UNTRUSTED)
    return _keep_untrusted(ring, forged)


def objection(ring: KeyRing, event: KeyEvent) -> str | None:
    """Why an event that was learned has no effect; None if it has one."""
    if ring.is_revoked(event.key_id):
        return None
    if isinstance(event, SigningKeyRevoked):
        if ring.trusted(event.revoked_by) is None:
            return f"the key that revokes it, {event.revoked_by}, is not trusted"
        return "the signature of its revocation is wrong"
    trusted = ring.trusted(event.key_id)
    if trusted and trusted.public_key == event.public_key:
        return None
    if trusted:
        return "a trusted key has the same id"
    if event.vouched_by is None or event.signature is None:
        return "no key vouches for it, and another key is pinned"
    if ring.trusted(event.vouched_by) is None:
        return f"the key that vouches for it, {event.vouched_by}, is not trusted"
    return "its voucher is wrong"


def _with_key(ring: KeyRing, event: SigningKeyPublished) -> KeyRing:
    if ring.is_revoked(event.key_id):
        return ring
    key = PublishedKey(
        key_id=event.key_id,
        public_key=event.public_key,
        trust=Trust.UNTRUSTED,
        vouched_by=event.vouched_by,
        signature=event.signature,
    )
    before = ring.keys.get(_identity(key))
    if before and before.trust is not Trust.UNTRUSTED:
        return ring
    if _is_pinned(ring, key) or _is_vouched_for(ring, key):
        return _with(ring, replace(key, trust=Trust.TRUSTED))
    return _keep_untrusted(ring, key)


def _is_pinned(ring: KeyRing, key: PublishedKey) -> bool:
    """Whether it is the first key, which is trusted without proof."""
    is_first = all(other.trust is Trust.UNTRUSTED for other in ring.keys.values())
    return is_first and key.vouched_by is None


def _is_vouched_for(ring: KeyRing, key: PublishedKey) -> bool:
    vouching_key = ring.trusted(key.vouched_by)
    if vouching_key is None or ring.trusted(key.key_id):
        return False
    return _verifies(vouching_key, key.signature, voucher_statement(key.key_id, key.public_key))


def _keep_untrusted(ring: KeyRing, key: PublishedKey) -> KeyRing:
    untrusted = sum(other.trust is Trust.UNTRUSTED for other in ring.keys.values())
    if _identity(key) in ring.keys or untrusted >= MAX_UNPROVEN:
        return ring
    return _with(ring, key)


def _with_revocation(ring: KeyRing, event: SigningKeyRevoked) -> KeyRing:
    revocation = Revocation(
        key_id=event.key_id, revoked_by=event.revoked_by, signature=event.signature
    )
    if ring.is_revoked(event.key_id):
        return ring
    if _is_proven(ring, revocation):
        return _revoked(ring, revocation)
    unproven = sum(not other.is_proven for other in ring.revocations.values())
    identity = event.key_id, event.revoked_by
    if identity in ring.revocations or unproven >= MAX_UNPROVEN or ring.trusted(event.revoked_by):
        return ring
    return replace(ring, revocations={**ring.revocations, identity: revocation})


def _is_proven(ring: KeyRing, revocation: Revocation) -> bool:
    signer = ring.trusted(revocation.revoked_by)
    if signer is None or signer.key_id == revocation.key_id:
        return False
    return _verifies(signer, revocation.signature, revocation_statement(revocation.key_id))


def _prove_pending(ring: KeyRing) -> KeyRing:
    """Trust and revoke what has waited for a key that is trusted now.

    Keys come before revocations: a key may have been revoked after it vouched for another.
    """
    for key in ring.keys.values():
        if key.trust is Trust.UNTRUSTED and _is_vouched_for(ring, key):
            return _prove_pending(_with(ring, replace(key, trust=Trust.TRUSTED)))
    for revocation in ring.revocations.values():
        if not revocation.is_proven and _is_proven(ring, revocation):
            return _prove_pending(_revoked(ring, revocation))
    return ring


def _revoked(ring: KeyRing, revocation: Revocation) -> KeyRing:
    identity = revocation.key_id, revocation.revoked_by
    keys = {
        _identity(key): replace(key, trust=Trust.REVOKED)
        if key.key_id == revocation.key_id
        else key
        for key in ring.keys.values()
    }
    proven = {**ring.revocations, identity: replace(revocation, is_proven=True)}
    return KeyRing(keys=keys, revocations=proven)


def _with(ring: KeyRing, key: PublishedKey) -> KeyRing:
    return replace(ring, keys={**ring.keys, _identity(key): key})


def _identity(key: PublishedKey) -> tuple[str, str]:
    return key.key_id, key.public_key


def _verifies(signer: PublishedKey, signature: str | None, statement: bytes) -> bool:
    try:
        public_key = Ed25519PublicKey.from_public_bytes(base64url_decode(signer.public_key))
        public_key.verify(base64url_decode(signature or ""), statement)
    except (InvalidSignature, ValueError):  # ValueError: a row with a malformed key
        return False
    return True
