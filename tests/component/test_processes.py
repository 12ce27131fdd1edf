"""The launcher's child processes, without a shop: how they end, and what becomes of their output."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from quadrille.launcher import restarts
from quadrille.launcher.log_files import LogFile
from quadrille.launcher.processes import ChildProcess, ProcessKilled, supervise
from quadrille.launcher.restarts import MAX_ENDS, ProcessGivenUp
from shared.chassis.errors import REFUSED
from tests.support.eventually import eventually

PRINT_PID = "import os; print(os.getpid(), flush=True); "
SLEEP = "print('ready', flush=True); import time; time.sleep(600)"
IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
LAUNCHER = """
import asyncio, sys
from quadrille.launcher.processes import ChildProcess
async def main():
    child = await ChildProcess.start("child", sys.argv[1:], {})
    await child.watch()
asyncio.run(main())
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", code]


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


def logged(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@asynccontextmanager
async def ready_child(code: str, log_path: Path) -> AsyncIterator[ChildProcess]:
    log = LogFile(log_path)
    child = await ChildProcess.start("child", python(code), {}, log)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(child.watch())
        await eventually(lambda: "ready" in logged(log_path))
        watching.cancel()
    yield child
    log.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE_SECONDS", 0.02)


@pytest.mark.parametrize(
    ("code", "exit_code", "end"),
    [
        ("", 0, "exited with code 0"),
        ("import sys; sys.exit(3)", 3, "exited with code 3"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            -signal.SIGKILL,
            "was ended by SIGKILL",
        ),
    ],
)
async def test_process_that_ends_five_times_is_given_up(
    log_path: Path, capsys: pytest.CaptureFixture[str], code: str, exit_code: int, end: str
):
    with pytest.raises(ProcessGivenUp) as given_up:
        await supervise("child", python(f"print('ready', flush=True); {code}"), {}, log_path)
    assert (given_up.value.name, given_up.value.code) == ("child", exit_code)
    assert logged(log_path) == ["ready"] * MAX_ENDS
    restarted = [line for line in capsys.readouterr().out.splitlines() if "started again" in line]
    assert len(restarted) == MAX_ENDS - 1
    assert all(line.startswith(f"child {end}; it is started again in ") for line in restarted)


async def test_process_that_refuses_is_not_restarted(log_path: Path):
    code = f"import sys; print('reason', flush=True); sys.exit({REFUSED})"
    with pytest.raises(ProcessGivenUp) as given_up:
        await supervise("child", python(code), {}, log_path)
    assert given_up.value.code == REFUSED
    assert logged(log_path) == ["reason"]


async def test_cancelled_pause_starts_no_process(
    log_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(restarts, "FIRST_PAUSE_SECONDS", 8)
    printed: list[str] = []

    def is_pausing() -> bool:
        printed.append(capsys.readouterr().out)
        return "started again in 8 s" in "".join(printed)

    task = asyncio.create_task(supervise("child", python("print('ready')"), {}, log_path))
    await eventually(is_pausing)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert logged(log_path) == ["ready"]


async def test_output_before_exit_is_logged_whole(log_path: Path):
    code = "import sys; print('x' * 200_000); print('last', file=sys.stderr, end=''); sys.exit(78)"
    with pytest.raises(ProcessGivenUp):
        await supervise("child", python(code), {}, log_path)
    assert sorted(logged(log_path)) == ["last", "x" * 200_000]


async def test_cancelled_supervision_stops_the_process(log_path: Path):
    task = asyncio.create_task(supervise("child", python(PRINT_PID + SLEEP), {}, log_path))
    await eventually(lambda: "ready" in logged(log_path))
    pid, _ = logged(log_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(int(pid))


async def test_output_while_stopping_is_logged(log_path: Path):
    code = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped')); "
        + SLEEP
    )
    async with ready_child(code, log_path) as child:
        await child.stop()
    assert logged(log_path) == ["ready", "stopped"]


async def test_ignored_sigterm_is_followed_by_sigkill(log_path: Path):
    async with ready_child(IGNORE_SIGTERM, log_path) as child:
        with pytest.raises(ProcessKilled):
            await child.stop(timeout_seconds=0.2)
        assert child.exit_code == -signal.SIGKILL


async def test_stopping_an_ended_process_does_nothing(log_path: Path):
    async with ready_child(SLEEP, log_path) as child:
        await child.stop()
        await child.stop()
        assert child.exit_code == -signal.SIGTERM


async def test_child_gets_a_session_of_its_own(log_path: Path):
    code = "import os; print(os.getsid(0) == os.getpid(), flush=True); " + SLEEP
    async with ready_child(code, log_path) as child:
        await child.stop()
    assert logged(log_path)[0] == "True"


def pid_of_orphan() -> int:
    """The child of a launcher that was killed as by `kill -9`."""
    command = [sys.executable, "-c", LAUNCHER, *python(PRINT_PID + SLEEP)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout
        pid = int(launcher.stdout.readline())
        assert launcher.stdout.readline() == b"ready\n"
        launcher.kill()
    return pid


async def test_child_ends_with_a_killed_launcher():
    pid = pid_of_orphan()
    try:
        await eventually(lambda: not psutil.pid_exists(pid))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
