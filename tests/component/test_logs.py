"""`quadrille logs` prints the files in the data directory, also while they grow and are replaced."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from quadrille.cli.main import main
from quadrille.launcher.log_files import LogFile


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    logs = tmp_path / "logs"
    logs.mkdir()
    return logs


def logs(directory: Path, *arguments: str) -> Result:
    environment = {"QUADRILLE_DATA_DIR": str(directory.parent)}
    return CliRunner().invoke(main, ["logs", *arguments], env=environment)


@contextmanager
def following(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "quadrille", "logs", *arguments, "--follow"]
    environment = {"QUADRILLE_DATA_DIR": str(directory.parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_last_lines_of_each_log_are_printed(directory: Path):
    (directory / "order.log").write_text("one\ntwo\nthree\n")
    (directory / "nats-server.log").write_text("four\n")
    result = logs(directory, "--lines", "2")
    assert result.output.split() == [
        "order",
        "|",
        "two",
        "order",
        "|",
        "three",
        "nats-server",
        "|",
        "four",
    ]
    assert logs(directory, "order", "--lines", "1").output == "three\n"
    document = msgspec.json.decode(logs(directory, "nats-server", "--json").output)
    assert document == {"process": "nats-server", "line": "four"}


def test_lines_before_a_rotation_are_printed(directory: Path):
    (directory / "order.log.1").write_text("one\ntwo\n")
    (directory / "order.log").write_text("three\n")
    assert logs(directory, "order", "--lines", "2").output == "two\nthree\n"


def test_control_characters_in_logs_are_escaped(directory: Path):
    (directory / "order.log").write_bytes(b"\x1b[2Jcleared \xff\n")
    assert logs(directory, "order").output == "\\x1b[2Jcleared \ufffd\n"


def test_missing_log_is_explained(directory: Path):
    result = logs(directory, "order")
    assert (result.exit_code, str(directory) in result.output) == (1, True)
    assert logs(directory, "nobody").exit_code == 2


def test_followed_log_continues_after_a_rotation(directory: Path):
    (directory / "order.log").write_text("before\n")
    with following(directory, "order") as process:
        assert next_line(process) == "before\n"
        log = LogFile(directory / "order.log", max_bytes=20)
        for number in range(9):
            log.write(f"line {number} [info ]\n".encode())
            assert next_line(process) == f"line {number} [info ]\n"
        log.close()


def test_followed_log_may_not_exist_yet(directory: Path):
    (directory / "order.log").write_text("first\n")
    with following(directory) as process:
        assert next_line(process).endswith("| first\n")
        (directory / "up.log").write_text("second\n")
        assert next_line(process).endswith("| second\n")
