"""The session file: private, complete at any time, and one refresh of a token at a time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from quadrille.cli.session import SessionFile, Tokens
from quadrille.endpoints import ShopError

SHOP = "http://127.0.0.1:8080"
OTHER_SHOP = "http://127.0.0.1:9090"
JANE = Tokens(
    email="jane@example.com",
    access_token="a0",
    refresh_token="r0",
    expires_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "session.json"


@pytest.fixture
def file(path: Path) -> SessionFile:
    return SessionFile(path, SHOP)


class TokenEndpoint:
    """Accepts each refresh token and records it."""

    def __init__(self) -> None:
        self.refresh_tokens: list[str] = []

    def refresh(self, tokens: Tokens) -> Tokens | None:
        self.refresh_tokens.append(tokens.refresh_token)
        number = len(self.refresh_tokens)
        return replace(tokens, access_token=f"a{number}", refresh_token=f"r{number}")


def test_load_without_file_writes_nothing(file, path):
    assert file.load() is None
    assert not path.parent.exists()


def test_saved_tokens_are_loaded(file, path):
    file.save(JANE)
    assert SessionFile(path, SHOP).load() == JANE


def test_session_file_is_private(file, path):
    file.save(JANE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_each_shop_has_its_own_tokens(file, path):
    other = SessionFile(path, OTHER_SHOP)
    file.save(JANE)
    other.save(replace(JANE, email="jack@example.com"))
    assert file.load() == JANE
    assert file.remove() == JANE
    assert file.load() is None
    assert other.load() is not None


def test_tokens_are_removed_once(file):
    file.save(JANE)
    assert file.remove() == JANE
    assert file.remove() is None


def test_refreshed_tokens_are_saved(file):
    file.save(JANE)
    refreshed = file.refresh(JANE, TokenEndpoint().refresh)
    assert refreshed == replace(JANE, access_token="a1", refresh_token="r1")
    assert file.load() == refreshed


def test_token_refreshed_elsewhere_is_not_refreshed_again(file):
    file.save(JANE)
    endpoint = TokenEndpoint()
    first, second = file.refresh(JANE, endpoint.refresh), file.refresh(JANE, endpoint.refresh)
    assert first == second
    assert endpoint.refresh_tokens == ["r0"]


def test_concurrent_commands_refresh_once(file, path):
    file.save(JANE)
    endpoint = TokenEndpoint()
    refreshed: list[Tokens | None] = []

    def command() -> None:
        refreshed.append(SessionFile(path, SHOP).refresh(JANE, endpoint.refresh))

    _in_threads(command)
    assert endpoint.refresh_tokens == ["r0"]
    assert set(refreshed) == {file.load()}


def test_concurrent_saves_lose_no_tokens(path):
    shops = iter([f"http://127.0.0.1:{port}" for port in range(20)])
    _in_threads(lambda: SessionFile(path, next(shops)).save(JANE))
    assert all(SessionFile(path, f"http://127.0.0.1:{port}").load() for port in range(20))


def test_rejected_refresh_removes_tokens(file):
    file.save(JANE)
    assert file.refresh(JANE, lambda _: None) is None
    assert file.load() is None


def test_failed_refresh_changes_nothing(file):
    def fail(_: Tokens) -> Tokens:
        raise ShopError("cannot connect to the order service")

    file.save(JANE)
    with pytest.raises(ShopError):
        file.refresh(JANE, fail)
    assert file.load() == JANE


def test_draft_of_killed_command_is_replaced(file, path):
    path.parent.mkdir(parents=True)
    path.with_suffix(".new").write_bytes(b"x" * 10_000)
    file.save(JANE)
    assert file.load() == JANE
    assert path.stat().st_mode & 0o777 == 0o600
    assert {entry.name for entry in path.parent.iterdir()} == {"session.json", "session.lock"}


def test_damaged_file_is_explained(file, path):
    path.parent.mkdir(parents=True)
    path.write_text('{"http://127.0.0.1:8080": 7}')
    with pytest.raises(
        ShopError, match=r"session\.json is damaged .* remove it, and sign in again"
    ):
        file.load()


def test_unusable_directory_is_explained(tmp_path):
    (tmp_path / "config").write_text("a file")
    file = SessionFile(tmp_path / "config" / "session.json", SHOP)
    with pytest.raises(ShopError, match="cannot use the session file"):
        file.save(JANE)


def _in_threads(command: Callable[[], object]) -> None:
    threads = [threading.Thread(target=command) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
