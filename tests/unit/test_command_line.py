"""What `quadrille --help` says of the commands, and how little it takes to say it; what a service takes."""

import subprocess
import sys

import click
import pytest

from quadrille.cli.main import COMMANDS, main
from tests.support.running_shop import SERVICES

HELP = "import sys; from quadrille.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_each_command_what_it_says_itself(name):
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(limit=100) == COMMANDS[name].says
    assert command.name in {name, "command"}


def test_help_imports_none_of_the_commands():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    assert any(line.split()[:1] == ["check"] for line in shown)
    imported = set(modules.split())
    assert imported.isdisjoint({"httpx", "rich", "msgspec", "sqlalchemy", "order_service"})
    assert imported.isdisjoint(place.module for place in COMMANDS.values())


def test_a_command_that_is_none_is_said():
    with pytest.raises(click.UsageError, match="No such command 'dance'"):
        main(["dance"], standalone_mode=False)


@pytest.mark.parametrize("service", SERVICES.values())
def test_a_service_takes_its_settings_from_the_environment_only(service):
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", service, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    asked = start("--help")
    assert asked.returncode == 0
    assert "QUADRILLE_" in asked.stdout
    mistaken = start("--port", "80")
    assert mistaken.returncode == 2
    assert f"{service}: error: unrecognized arguments: --port 80" in mistaken.stderr
