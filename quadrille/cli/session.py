"""Being signed in at a shop: in, out, and the access token for the next request."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from quadrille.cli.endpoints import Shop, ShopError, document, refusal
from quadrille.cli.session_file import SessionFile, SignIn
from shared.chassis.messages import clock

UNAUTHORIZED = 401
RENEWED_BEFORE = timedelta(seconds=30)
"""A token that is over so soon is not used any more."""


class SignInRequired(ShopError):
    """The shop answers only those who are signed in."""

    def __init__(self, *, again: bool = False) -> None:
        super().__init__(
            "your sign-in has ended, sign in again: quadrille login"
            if again
            else "sign in first: quadrille login"
        )


class Session:
    """Who is signed in here at one shop; nobody is a guest."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        path = Path(click.get_app_dir("quadrille")) / "session.json"
        self._file = SessionFile(path, str(shop.url("order")))

    def begin(self, email: str, password: str) -> SignIn:
        """Sign in, and stay so until `end`. Raises ShopError when the shop refuses."""
        account = {"email": email, "password": password}
        response = self._shop.send("POST", "order", "/auth/login", json=account)
        sign_in = _sign_in(email, document(response))
        self._file.keep(sign_in)
        return sign_in

    def end(self) -> SignIn | None:
        """Sign out; returns who was signed in. He is so no more even if the shop can not be told."""
        known = self._file.forget()
        if known:
            body = {"refreshToken": known.refresh_token}
            response = self._shop.send("POST", "order", "/auth/logout", json=body)
            if response.is_error:
                raise refusal(response)
        return known

    def known(self) -> SignIn | None:
        """Who is signed in, with a token that is good for the next request. Raises SignInRequired."""
        known = self._file.load()
        if known and known.expires_at < clock.now() + RENEWED_BEFORE:
            return self.renewed(known)
        return known

    def renewed(self, refused: SignIn) -> SignIn:
        """The same with a newer token than this one. Raises SignInRequired when the shop trades it no more."""
        renewed = self._file.renew(refused, self._trade)
        if renewed is None:
            raise SignInRequired(again=True)
        return renewed

    def _trade(self, known: SignIn) -> SignIn | None:
        body = {"refreshToken": known.refresh_token}
        response = self._shop.send("POST", "order", "/auth/refresh", json=body)
        if response.status_code == UNAUTHORIZED:
            return None
        return _sign_in(known.email, document(response))


def bearer(sign_in: SignIn | None) -> dict[str, str]:
    """The headers of his requests; a guest's say nothing."""
    return {"Authorization": f"Bearer {sign_in.access_token}"} if sign_in else {}


def _sign_in(email: str, tokens: dict[str, Any]) -> SignIn:
    return SignIn(
        email=email,
        access_token=tokens["accessToken"],
        refresh_token=tokens["refreshToken"],
        expires_at=clock.now() + timedelta(seconds=tokens["expiresIn"]),
    )
