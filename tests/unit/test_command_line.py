"""The help of `quadrille` and of its commands; the arguments of a service process."""

import subprocess
import sys

import click
import pytest

from quadrille.cli.main import COMMANDS, main
from tests.support.shop_processes import MODULES

HELP = "import sys; from quadrille.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_help_starts_with_its_summary(name: str):
    summary = COMMANDS[name].summary
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=100) == summary
    help_text = " ".join(command.get_help(click.Context(command, info_name=name)).split())
    assert help_text.count(summary) == 1
    assert summary in " ".join(main.get_help(click.Context(main)).split())


def test_help_imports_no_command():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert any(line.split()[:1] == ["check"] for line in lines)
    imported = set(modules.split())
    assert imported.isdisjoint({"httpx", "rich", "msgspec", "sqlalchemy", "order_service"})
    assert imported.isdisjoint(entry.module for entry in COMMANDS.values())


def test_unknown_command_is_an_error():
    with pytest.raises(click.UsageError, match="No such command 'orders2'"):
        main(["orders2"], standalone_mode=False)


@pytest.mark.parametrize("service", MODULES.values())
def test_service_takes_settings_from_environment_only(service):
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", service, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    usage = start("--help")
    assert usage.returncode == 0
    assert "QUADRILLE_" in usage.stdout
    rejected = start("--port", "80")
    assert rejected.returncode == 2
    assert f"{service}: error: unrecognized arguments: --port 80" in rejected.stderr
