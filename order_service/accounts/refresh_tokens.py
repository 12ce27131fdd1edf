"""Refresh tokens: `<session id>.<secret>`, each valid for one exchange.

The token before the last one answers the same pair again for a short while, so that two tabs may refresh at once. Any
other token of a session was used before, perhaps by a thief: the session ends.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from datetime import timedelta

from cryptography.fernet import Fernet
from msgspec.structs import replace

from order_service.accounts.sessions import Session
from shared.chassis.messages.clock import now

REFRESH_DAYS = 30
GRACE = timedelta(seconds=20)


def new_session(user_id: str) -> tuple[str, Session]:
    """A session and its first token. The session id cannot be guessed without one of its tokens."""
    session_id = secrets.token_urlsafe(16)
    token = _new_token(session_id)
    session = Session(
        session_id=session_id,
        user_id=user_id,
        token_digest=_digest(token),
        expires_at=now() + timedelta(days=REFRESH_DAYS),
    )
    return token, session


def session_id_of(token: str) -> str:
    """The session id in the token, unchecked."""
    return token.partition(".")[0]


def is_expired(session: Session) -> bool:
    """Whether it was not refreshed for too long."""
    return session.expires_at < now()


def is_good(session: Session, token: str) -> bool:
    """Whether the token is the session's newest, which was not exchanged yet."""
    return session.token_digest == _digest(token)


def next_token(session: Session) -> str:
    """The token's successor."""
    return _new_token(session.session_id)


def exchanged(session: Session, token: str, successor: str, answer: bytes) -> Session:
    """The session after the token was exchanged for its successor.

    The answer is encrypted with the old token, which is kept nowhere: the database alone opens no session.
    """
    return replace(
        session,
        token_digest=_digest(successor),
        used_digest=_digest(token),
        used_at=now(),
        sealed_answer=_seal(token).encrypt(answer),
        expires_at=now() + timedelta(days=REFRESH_DAYS),
    )


def answer_again(session: Session, token: str) -> bytes | None:
    """The token's successor if it was exchanged a moment ago; None otherwise."""
    if session.used_digest != _digest(token) or session.used_at is None:
        return None
    if session.sealed_answer is None or now() - session.used_at > GRACE:
        return None
    return _seal(token).decrypt(session.sealed_answer)


def _new_token(session_id: str) -> str:
    return f"{session_id}.{secrets.token_urlsafe(32)}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _seal(token: str) -> Fernet:
    return Fernet(urlsafe_b64encode(hashlib.sha256(b"answer to " + token.encode()).digest()))
