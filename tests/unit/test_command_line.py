"""The help of `quadrille` and of its commands; the arguments of a service process."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ordres"], "No such command 'ordres'. (Did you mean one of: 'order', 'orders'?)"),
        (["whoamii"], "No such command 'whoamii'. Did you mean 'whoami'?"),
        (["xyz"], "No such command 'xyz'."),
        (["cart", "shw"], "No such command 'shw'. Did you mean 'show'?"),
        (["order", "p1", "--wach"], "No such option '--wach'. Did you mean '--watch'?"),
        (["orders", "--limt", "3"], "No such option '--limt'. Did you mean '--limit'?"),
    ],
)
def test_mistyped_word_is_corrected(arguments: list[str], sentence: str):
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {sentence}")


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by its words."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner is not None
        yield from commands(inner, f"{name} {word}".strip())


WITHOUT_JSON = {"up", "provision", "completion"}
"""They run until they are stopped, or print a script."""


def test_commands_print_json_on_request():
    assert {
        name for name, command in commands(main) if "--json" not in option_names(command)
    } == WITHOUT_JSON


def option_names(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_the_command(shell: str):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert f"_QUADRILLE_COMPLETE={shell}_complete" in result.stdout


def completions(line: str) -> list[str]:
    """What bash is offered for the last word of this line."""
    words = line.split(" ")
    environment = {
        "_QUADRILLE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(main, prog_name="quadrille", env=environment)
    return [entry.removeprefix("plain,") for entry in result.stdout.splitlines()]


def test_commands_and_options_are_completed():
    assert completions("quadrille ord") == ["order", "orders"]
    assert completions("quadrille --v") == ["--version"]
    assert completions("quadrille cart ch") == ["checkout"]
    assert completions("quadrille orders --lim") == ["--limit"]
    assert "completed" in [word.lower() for word in completions("quadrille orders --status COMP")]
    assert completions("quadrille order sh") == ["show"]
    assert completions("quadrille order --wa") == ["--watch"]
    assert completions("quadrille order lamp:1 --wa") == ["--watch"]


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
