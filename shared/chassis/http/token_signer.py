"""An Ed25519 key that signs JSON Web Tokens and other statements."""

from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import OKPAlgorithm
from jwt.utils import base64url_encode

from shared.chassis.http.auth import ALGORITHM
from shared.chassis.messages.clock import new_id


class TokenSigner:
    """The private key stays in the service that uses it; the others receive the public key in an event."""

    def __init__(self, key_id: str, private_key: Ed25519PrivateKey) -> None:
        self.key_id = key_id
        self._private_key = private_key

    @classmethod
    def generate(cls) -> "TokenSigner":
        return cls(new_id(), Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, key_id: str, pem: str) -> "TokenSigner":
        """From the stored private key."""
        private_key = load_pem_private_key(pem.encode(), password=None)
        if not isinstance(private_key, Ed25519PrivateKey):
            raise TypeError(f"key {key_id} is not an Ed25519 key")
        return cls(key_id, private_key)

    def to_pem(self) -> str:
        """The private key, to be stored."""
        return self._private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode()

    @property
    def public_key(self) -> str:
        """The 32 bytes of the public key, base64url."""
        return self.jwk["x"]

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key (RFC 8037)."""
        public_key = OKPAlgorithm.to_jwk(self._private_key.public_key(), as_dict=True)
        return {**public_key, "use": "sig", "alg": ALGORITHM, "kid": self.key_id}

    def token(self, claims: dict[str, Any]) -> str:
        return jwt.encode(
            claims, self._private_key, algorithm=ALGORITHM, headers={"kid": self.key_id}
        )

    def sign(self, statement: bytes) -> str:
        """The signature of the statement, base64url."""
        return base64url_encode(self._private_key.sign(statement)).decode()
