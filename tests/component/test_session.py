"""The file that keeps who is signed in: private, whole at every moment, and one trade of a token at a time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from quadrille.cli.endpoints import ShopError
from quadrille.cli.session_file import SessionFile, SignIn

HERE = "http://127.0.0.1:8080"
THERE = "http://127.0.0.1:9090"
JANE = SignIn(
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
    return SessionFile(path, HERE)


class OrderState:
    """Trades each refresh token once, and tells what came."""

    def __init__(self) -> None:
        self.traded: list[str] = []

    def trade(self, known: SignIn) -> SignIn | None:
        self.traded.append(known.refresh_token)
        number = len(self.traded)
        return replace(known, access_token=f"a{number}", refresh_token=f"r{number}")


def test_nobody_is_signed_in_at_first_and_nothing_is_written_to_find_that_out(file, path):
    assert file.load() is None
    assert not path.parent.exists()


def test_who_signs_in_stays_so(file, path):
    file.keep(JANE)
    assert SessionFile(path, HERE).load() == JANE


def test_the_file_is_for_its_owner_alone(file, path):
    file.keep(JANE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_each_shop_has_its_own_sign_in(file, path):
    there = SessionFile(path, THERE)
    file.keep(JANE)
    there.keep(replace(JANE, email="jack@example.com"))
    assert file.load() == JANE
    assert file.forget() == JANE
    assert file.load() is None
    assert there.load() is not None


def test_signing_out_twice_is_signing_out_once(file):
    file.keep(JANE)
    assert file.forget() == JANE
    assert file.forget() is None


def test_a_renewed_token_is_kept(file):
    file.keep(JANE)
    renewed = file.renew(JANE, OrderState().trade)
    assert renewed == replace(JANE, access_token="a1", refresh_token="r1")
    assert file.load() == renewed


def test_a_token_that_another_command_has_renewed_is_not_traded_again(file):
    file.keep(JANE)
    desk = OrderState()
    first, second = file.renew(JANE, desk.trade), file.renew(JANE, desk.trade)
    assert first == second
    assert desk.traded == ["r0"]


def test_commands_at_once_trade_a_token_once(file, path):
    file.keep(JANE)
    desk = OrderState()
    renewed: list[SignIn | None] = []

    def command() -> None:
        renewed.append(SessionFile(path, HERE).renew(JANE, desk.trade))

    _all_at_once(command)
    assert desk.traded == ["r0"]
    assert set(renewed) == {file.load()}


def test_commands_at_once_lose_nobodys_sign_in(path):
    shops = iter([f"http://127.0.0.1:{port}" for port in range(20)])
    _all_at_once(lambda: SessionFile(path, next(shops)).keep(JANE))
    assert all(SessionFile(path, f"http://127.0.0.1:{port}").load() for port in range(20))


def test_a_trade_that_is_refused_ends_the_sign_in(file):
    file.keep(JANE)
    assert file.renew(JANE, lambda _: None) is None
    assert file.load() is None


def test_a_trade_that_fails_changes_nothing(file):
    def fail(_: SignIn) -> SignIn:
        raise ShopError("the order service is not there")

    file.keep(JANE)
    with pytest.raises(ShopError):
        file.renew(JANE, fail)
    assert file.load() == JANE


def test_a_draft_left_by_a_killed_command_is_of_no_matter(file, path):
    path.parent.mkdir(parents=True)
    path.with_suffix(".new").write_bytes(b"x" * 10_000)
    file.keep(JANE)
    assert file.load() == JANE
    assert path.stat().st_mode & 0o777 == 0o600
    assert {left.name for left in path.parent.iterdir()} == {"session.json", "session.lock"}


def test_a_damaged_file_is_said_and_how_to_mend_it(file, path):
    path.parent.mkdir(parents=True)
    path.write_text('{"http://127.0.0.1:8080": 7}')
    with pytest.raises(
        ShopError, match=r"session\.json is damaged .* remove it, and sign in again"
    ):
        file.load()


def test_a_directory_that_can_not_be_used_is_said(tmp_path):
    (tmp_path / "config").write_text("in the way")
    file = SessionFile(tmp_path / "config" / "session.json", HERE)
    with pytest.raises(ShopError, match="the sign-in can not be kept in"):
        file.keep(JANE)


def _all_at_once(command: Callable[[], object]) -> None:
    threads = [threading.Thread(target=command) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
