"""The launcher's log files: bounded, two for each process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadrille.launcher.log_files import LogFile


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    log = LogFile(tmp_path / "order.log", max_bytes=100)
    yield log
    log.close()


def test_full_log_rotates_to_new_file(log: LogFile, tmp_path: Path):
    lines = [b"line %02d.\n" % number for number in range(100)]
    log.is_silent = True
    for line in lines:
        log.write(line)
    assert {path.name for path in tmp_path.iterdir()} == {"order.log", "order.log.1"}
    content = (tmp_path / "order.log.1").read_bytes() + (tmp_path / "order.log").read_bytes()
    assert b"".join(lines).endswith(content)
    assert 100 < len(content) <= 200


def test_restart_keeps_previous_log(log: LogFile, tmp_path: Path):
    log.write(b"[info ] first run\n")
    with_restart = LogFile(tmp_path / "order.log")
    with_restart.close()
    assert (tmp_path / "order.log.1").read_bytes() == b"[info ] first run\n"
    assert (tmp_path / "order.log").read_bytes() == b""


def test_terminal_output_escapes_control_characters(
    log: LogFile, capsys: pytest.CaptureFixture[str]
):
    log.write(b"[error  ] \x1b[2J\xc2\x9b owned\n")
    assert capsys.readouterr().out == "order | [error  ] \\x1b[2J\\x9b owned\n"


@pytest.mark.parametrize(
    ("lines", "printed"),
    [
        ([b"[info   ] started\n"], ""),
        ([b'{"level":"warning"}\n'], 'order | {"level":"warning"}\n'),
        ([b"[error  ] failed\n", b"Traceback\n"], "order | [error  ] failed\norder | Traceback\n"),
        ([b"[error  ] failed\n", b"[info   ] go\n", b"more\n"], "order | [error  ] failed\n"),
    ],
)
def test_terminal_gets_warnings_and_errors_only(
    log: LogFile, capsys: pytest.CaptureFixture[str], lines: list[bytes], printed: str
):
    for line in lines:
        log.write(line)
    assert capsys.readouterr().out == printed
