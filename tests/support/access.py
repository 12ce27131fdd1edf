"""Tokens as the order service signs them, for services that run without it."""

from order_service.domain.customers import Customer
from order_service.tokens import Signer
from shared.contracts import Role, SigningKeyPublished
from tests.support.history import START


class Issuer:
    """Signs with a key of its own, which a service must hear of before it believes the tokens."""

    def __init__(self) -> None:
        self._signer = Signer.generate()

    @property
    def published(self) -> SigningKeyPublished:
        """What the service must hear."""
        return SigningKeyPublished(key_id=self._signer.key_id, public_key=self._signer.public_key)

    def headers(self, user_id: str, role: Role = "customer") -> dict[str, str]:
        """Those of a request by somebody who has signed in."""
        customer = Customer(
            user_id=user_id,
            email=f"{user_id}@example.com",
            role=role,
            created_at=START,
            updated_at=START,
        )
        return {"Authorization": f"Bearer {self._signer.access_token(customer)}"}
