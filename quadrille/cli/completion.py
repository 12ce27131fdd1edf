"""`quadrille completion`: the script with which bash, zsh or fish completes the command line."""

import click
from click.shell_completion import get_completion_class

from quadrille.endpoints import ShopError

PROGRAM = "quadrille"
VARIABLE = "_QUADRILLE_COMPLETE"
"""In the environment it makes the program print completions; click derives the name from the program's."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """\b
    For this session:
      bash, zsh    eval "$(quadrille completion bash)"
      fish         quadrille completion fish | source

    \b
    For every session:
      bash   quadrille completion bash >> ~/.bashrc
      zsh    quadrille completion zsh >> ~/.zshrc, behind `compinit`
      fish   quadrille completion fish > ~/.config/fish/completions/quadrille.fish

    The shell must find the command under the name `quadrille`.
    """
    script = get_completion_class(shell)
    if script is None:
        raise ShopError(f"the completion for {shell} is not installed")
    click.echo(script(context.find_root().command, {}, PROGRAM, VARIABLE).source())
