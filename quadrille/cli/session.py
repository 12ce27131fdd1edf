"""Signing in to a shop and out, and the access token for the next request.

The tokens of all shops are in one file that only its owner may read. The file is replaced and never changed in place,
so it can be read at any time; writers hold a lock file. A refresh token can be used once, so it is used under that lock
too: of two commands at the same time one refreshes, and both use the new tokens.
"""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec
from filelock import FileLock

from quadrille.endpoints import Endpoints, Json, ShopError, decoded, rejection
from shared.chassis.messages import clock

UNAUTHORIZED = 401
REFRESHED_BEFORE = timedelta(seconds=30)
"""An access token that expires within this time is refreshed first."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class SignInRequired(ShopError):
    """The service answers only signed-in users."""

    def __init__(self, *, is_expired: bool = False) -> None:
        super().__init__(
            "your session has ended, sign in again: quadrille login"
            if is_expired
            else "sign in first: quadrille login"
        )


class Tokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A signed-in user's e-mail address and tokens at one shop."""

    email: str
    access_token: str
    refresh_token: str
    expires_at: datetime
    """Of the access token."""


class Session:
    """The user who is signed in at one shop on this machine, if any."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        path = Path(click.get_app_dir("quadrille")) / "session.json"
        self._file = SessionFile(path, str(endpoints.url("order")))

    def sign_in(self, email: str, password: str) -> None:
        """Raises ShopError if the shop rejects the credentials."""
        account = {"email": email, "password": password}
        response = self._endpoints.request("POST", "order", "/auth/login", json=account)
        self._file.save(_tokens(email, decoded(response)))

    def sign_out(self) -> str | None:
        """The e-mail address of the user who was signed in. The local session ends even if the server is unreachable."""
        tokens = self._file.remove()
        if tokens is None:
            return None
        body = {"refreshToken": tokens.refresh_token}
        response = self._endpoints.request("POST", "order", "/auth/logout", json=body)
        if response.is_error:
            raise rejection(response)
        return tokens.email

    def current(self) -> Tokens | None:
        """Tokens that are valid for the next request; None for a guest. Raises SignInRequired."""
        tokens = self._file.load()
        if tokens and tokens.expires_at < clock.now() + REFRESHED_BEFORE:
            return self.refreshed(tokens)
        return tokens

    def refreshed(self, stale: Tokens) -> Tokens:
        """Newer tokens than these. Raises SignInRequired if the shop accepts the refresh token no longer."""
        tokens = self._file.refresh(stale, self._refresh)
        if tokens is None:
            raise SignInRequired(is_expired=True)
        return tokens

    def _refresh(self, tokens: Tokens) -> Tokens | None:
        body = {"refreshToken": tokens.refresh_token}
        response = self._endpoints.request("POST", "order", "/auth/refresh", json=body)
        if response.status_code == UNAUTHORIZED:
            return None
        return _tokens(tokens.email, decoded(response))


class SessionFile:
    """The tokens for one shop in the file at `path`. Every method raises ShopError if the file cannot be used."""

    def __init__(self, path: Path, shop: str) -> None:
        """`shop` is the address of its order service."""
        self._path = path
        self._shop = shop

    def load(self) -> Tokens | None:
        return self._read().get(self._shop)

    def save(self, tokens: Tokens) -> None:
        with self._locked():
            self._replace(tokens)

    def remove(self) -> Tokens | None:
        """Returns what was removed."""
        with self._locked():
            tokens = self.load()
            if tokens:
                self._replace(None)
            return tokens

    def refresh(self, stale: Tokens, request: Callable[[Tokens], Tokens | None]) -> Tokens | None:
        """Replace `stale` by what `request` returns, unless another command has replaced it already.

        None, from `request` too, means that the session has ended.
        """
        with self._locked():
            tokens = self.load()
            if tokens is None or tokens.access_token != stale.access_token:
                return tokens
            refreshed = request(tokens)
            self._replace(refreshed)
            return refreshed

    def _read(self) -> Mapping[str, Tokens]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Tokens])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{self._path} is damaged ({error}): remove it, and sign in again"
            raise ShopError(message) from error

    def _replace(self, tokens: Tokens | None) -> None:
        by_shop = {shop: others for shop, others in self._read().items() if shop != self._shop}
        if tokens:
            by_shop[self._shop] = tokens
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)  # from a killed command
        with os.fdopen(os.open(draft, NEW_FILE, mode=0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(by_shop)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ShopError:
        return ShopError(f"cannot use the session file {self._path}: {error.strerror or error}")


def bearer(tokens: Tokens | None) -> dict[str, str]:
    """The headers that authorize a request; none for a guest."""
    return {"Authorization": f"Bearer {tokens.access_token}"} if tokens else {}


def _tokens(email: str, response: Json) -> Tokens:
    return Tokens(
        email=email,
        access_token=response["accessToken"],
        refresh_token=response["refreshToken"],
        expires_at=clock.now() + timedelta(seconds=response["expiresIn"]),
    )
