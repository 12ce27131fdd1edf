"""The launcher's log files: bounded, two for each process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from honcho.printer import Message

from quadrille.launcher.processes import Logs


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    logs = Logs(tmp_path, max_bytes=100)
    logs.open("order")
    yield logs
    logs.close()


def line(data: bytes) -> Message:
    return Message(type="line", data=data, time=None, name="order", colour=None)


def test_full_log_rotates_to_new_file(logs: Logs, tmp_path: Path):
    lines = [b"line %02d.\n" % number for number in range(100)]
    logs.is_silent = True
    for each in lines:
        logs.write(line(each))
    assert {path.name for path in tmp_path.iterdir()} == {"order.log", "order.log.1"}
    kept = (tmp_path / "order.log.1").read_bytes() + (tmp_path / "order.log").read_bytes()
    assert b"".join(lines).endswith(kept)
    assert 100 < len(kept) <= 200


def test_terminal_output_escapes_control_characters(logs: Logs, capsys: pytest.CaptureFixture[str]):
    logs.write(line(b"[error  ] \x1b[2J\xc2\x9b owned\n"))
    assert capsys.readouterr().out == "order | [error  ] \\x1b[2J\\x9b owned\n"
