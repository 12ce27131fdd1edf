"""Access tokens and key events as the order service makes them, for services that run without it."""

from datetime import timedelta
from typing import Any

from order_service.accounts.domain import Customer
from order_service.accounts.tokens import access_token
from shared.chassis.http.auth import AUDIENCE, ISSUER
from shared.chassis.http.key_trust import revocation_statement, voucher_statement
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.clock import now
from shared.chassis.messages.identity_events import SigningKeyPublished, SigningKeyRevoked
from shared.chassis.testing import START
from shared.contracts import Role


class Issuer:
    """Signs with a key of its own, which a service must trust before it accepts the tokens."""

    def __init__(self, signer: TokenSigner | None = None) -> None:
        self._signer = signer or TokenSigner.generate()
        self.key_id = self._signer.key_id

    @property
    def published(self) -> SigningKeyPublished:
        """Its key as the first of all."""
        return SigningKeyPublished(key_id=self.key_id, public_key=self._signer.public_key)

    def vouched_by(self, vouching: "Issuer") -> SigningKeyPublished:
        """Its key as one that follows the other issuer's."""
        statement = voucher_statement(self.key_id, self._signer.public_key)
        return SigningKeyPublished(
            key_id=self.key_id,
            public_key=self._signer.public_key,
            vouched_by=vouching.key_id,
            signature=vouching.sign(statement),
        )

    def revoke(self, key_id: str) -> SigningKeyRevoked:
        """That a key is not to be trusted, signed by this one."""
        signature = self.sign(revocation_statement(key_id))
        return SigningKeyRevoked(key_id=key_id, revoked_by=self.key_id, signature=signature)

    def sign(self, statement: bytes) -> str:
        """The signature of any statement."""
        return self._signer.sign(statement)

    def headers(
        self, user_id: str, role: Role = "customer", token_version: int = 0
    ) -> dict[str, str]:
        """Those of a request by somebody who has signed in."""
        customer = Customer(
            user_id=user_id,
            email=f"{user_id}@example.com",
            role=role,
            token_version=token_version,
            created_at=START,
            updated_at=START,
        )
        return {"Authorization": f"Bearer {access_token(self._signer, customer)}"}

    def headers_with(self, **changes: Any) -> dict[str, str]:
        """Those of an admin's request with a token of other claims; None leaves one out."""
        issued_at = now()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "root",
            "role": "admin",
            "iat": issued_at,
            "exp": issued_at + timedelta(minutes=15),
        } | changes
        token = self._signer.token(
            {name: value for name, value in claims.items() if value is not None}
        )
        return {"Authorization": f"Bearer {token}"}
