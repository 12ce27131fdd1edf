"""Access tokens: short-lived, and verified with the public key."""

from datetime import timedelta

from order_service.accounts.domain import Customer
from shared.chassis.http.auth import AUDIENCE, ISSUER
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.clock import new_id, now

ACCESS_SECONDS = 15 * 60


def access_token(signer: TokenSigner, customer: Customer) -> str:
    """Identifies the customer for a quarter of an hour."""
    issued_at = now()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": customer.user_id,
        "role": customer.role,
        "ver": customer.token_version,
        "iat": issued_at,
        "exp": issued_at + timedelta(seconds=ACCESS_SECONDS),
        "jti": new_id(),
    }
    return signer.token(claims)
