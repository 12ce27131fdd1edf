"""The tokens of whoever is signed in at this terminal, in a file that only he may read.

The file is replaced and never changed in place, so it can be read at any moment; whoever writes holds the lock beside
it. A refresh token is good once, so it is traded for the next under that lock too: two commands at once use one trade.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from quadrille.cli.endpoints import ShopError

DRAFTING = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class SignIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in at one shop, and the proof."""

    email: str
    access_token: str
    refresh_token: str
    expires_at: datetime


SignIns = Mapping[str, SignIn]
"""By the address of the order service."""


class SessionFile:
    """One shop's entry in the file at `path`. Everything raises ShopError when the file can not be used."""

    def __init__(self, path: Path, shop: str) -> None:
        self._path = path
        self._shop = shop

    def load(self) -> SignIn | None:
        """Who is signed in."""
        return self._read().get(self._shop)

    def keep(self, sign_in: SignIn) -> None:
        """From now on it is this one."""
        with self._locked():
            self._replace(sign_in)

    def forget(self) -> SignIn | None:
        """Nobody is any more; returns who was."""
        with self._locked():
            known = self.load()
            if known:
                self._replace(None)
            return known

    def renew(self, stale: SignIn, trade: Callable[[SignIn], SignIn | None]) -> SignIn | None:
        """ServiceSpec the tokens of `stale` for the next, unless another command already has; None ends the sign-in."""
        with self._locked():
            known = self.load()
            if known is None or known.access_token != stale.access_token:
                return known
            renewed = trade(known)
            self._replace(renewed)
            return renewed

    def _read(self) -> SignIns:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, SignIn])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{self._path} is damaged ({error}): remove it, and sign in again"
            raise ShopError(message) from error

    def _replace(self, sign_in: SignIn | None) -> None:
        others = {shop: known for shop, known in self._read().items() if shop != self._shop}
        sign_ins = others | {self._shop: sign_in} if sign_in else others
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)  # a killed command's
        with os.fdopen(os.open(draft, DRAFTING, mode=0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(sign_ins)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ShopError:
        return ShopError(f"the sign-in can not be kept in {self._path}: {error.strerror or error}")
