"""The broker's configuration and its users' passwords, in files that only their owner may read.

A password is made once and kept: the file with a user's URL is where it stays.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from quadrille.launcher.nats_users import USERS, VIEWER, NatsUser
from quadrille.launcher.processes import MAX_LOG_BYTES

MAX_PAYLOAD = 262_144
"""Four times what an event's body may be."""
PASSWORD_BYTES = 32
CONFIG = "nats.conf"
OWNER_ONLY = 0o600


class Tls(NamedTuple):
    """Files as the server finds them."""

    certificate: str
    key: str


class Server(NamedTuple):
    """What the server is told, and where clients reach it."""

    listen: str
    store: str
    address: str
    """Host and port that clients use."""
    viewer_address: str | None = None
    """Where people reach it, if elsewhere."""
    monitoring: str | None = None
    tls: Tls | None = None

    def url(self, user: str, password: str) -> str:
        """With which this user connects."""
        address = self.viewer_address if user == VIEWER else None
        scheme = "tls" if self.tls else "nats"
        return f"{scheme}://{user}:{password}@{address or self.address}"


def write(directory: Path, server: Server, mode: int = OWNER_ONLY) -> dict[str, str]:
    """Write `nats.conf` and a file `<user>.url` for each user; returns the URLs by user."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    passwords = {user.name: _password(directory / f"{user.name}.url") for user in USERS}
    urls = {name: server.url(name, password) for name, password in passwords.items()}
    for name, url in urls.items():
        _write(directory / f"{name}.url", url + "\n", mode)
    _write(directory / CONFIG, configuration(server, passwords), mode)
    return urls


def configuration(server: Server, passwords: Mapping[str, str]) -> str:
    """The text of `nats.conf`; JSON is its syntax too."""
    settings = {
        "server_name": "quadrille",
        "listen": server.listen,
        "max_payload": MAX_PAYLOAD,
        # Where it logs to a file: as much as other processes may.
        "logfile_size_limit": MAX_LOG_BYTES,
        "logfile_max_num": 2,
        # Power may fail: an acknowledged event is on the disk.
        "jetstream": {"store_dir": server.store, "sync_interval": "always"},
        "authorization": {"users": [_user(user, passwords[user.name]) for user in USERS]},
    }
    if server.monitoring:
        settings["http"] = server.monitoring
    if server.tls:
        settings["tls"] = {"cert_file": server.tls.certificate, "key_file": server.tls.key}
    lines = [f"{name}: {json.dumps(value, indent=2)}" for name, value in settings.items()]
    return "# Made by quadrille, which overwrites it.\n\n" + "\n".join(lines) + "\n"


def _user(user: NatsUser, password: str) -> dict[str, object]:
    publish: dict[str, object] = {"allow": user.publish}
    if user.never_publish:
        publish["deny"] = user.never_publish
    permissions = {"publish": publish, "subscribe": {"allow": user.subscribe}}
    return {"user": user.name, "password": password, "permissions": permissions}


def _password(file: Path) -> str:
    """The one that the user has, or a new one."""
    kept = urlsplit(file.read_text().strip()).password if file.exists() else None
    return kept or secrets.token_urlsafe(PASSWORD_BYTES)


def _write(file: Path, text: str, mode: int) -> None:
    """Replace the file whole, never readable for others in between."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as opened:
        os.fchmod(opened.fileno(), mode)  # whatever the umask says
        opened.write(text)
    new.replace(file)
