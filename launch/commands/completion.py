"""`parley completion`: a script that completes `parley` in a shell."""

from __future__ import annotations

import sys

import click

from ..problems import Problem

INSTALL = {
    "bash": "echo 'eval \"$(parley completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(parley completion zsh)\"' >> ~/.zshrc",
    "fish": "parley completion fish > ~/.config/fish/completions/parley.fish",
}
"""How each is made to stay; the help of the command says the same."""


@click.command()
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes `parley` in a shell: commands, flags, and the agents of this machine.

    To have it in every new shell:

    \b
      echo 'eval "$(parley completion bash)"' >> ~/.bashrc
      echo 'eval "$(parley completion zsh)"' >> ~/.zshrc
      parley completion fish > ~/.config/fish/completions/parley.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    try:
        script = made(ctx.find_root().command, {}, "parley", "_PARLEY_COMPLETE").source()
    except (OSError, RuntimeError) as error:
        raise Problem(f"there is no script for {shell} here: {error}") from None
    click.echo(script)
    if sys.stderr.isatty():
        click.echo(f"to have it in every new shell: {INSTALL[shell]}", err=True)
