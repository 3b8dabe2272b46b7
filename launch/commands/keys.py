"""`parley keys`: a key of this machine's own, and whose are let in."""

from __future__ import annotations

from pathlib import Path

import click

from .. import machine, options
from ..problems import Exit, Problem


@click.group()
def keys() -> None:
    """Who gets in: this machine's own key, and the list of those that it lets in.

    All lies in one folder, --keys or ~/.config/parley/keys. Each machine makes a key and is told those of the others;
    so is whoever talks to agents from somewhere else. Running agents see a changed list within a second.
    """


def _folder() -> Path:
    from .. import keys as places

    return places.named() or places.default_folder()


@keys.command()
@click.option(
    "--name",
    type=options.NodeName(),
    default=machine.host_name,
    show_default="this machine's name",
    help="What others are to know it by: the node's --name.",
)
@options.keys
def new(name: str) -> None:
    """Make this machine's key, and print what the others are to be told."""
    from ...transport.security import KeysError, make

    try:
        ring = make(_folder(), name)
    except KeysError as error:
        raise Problem(str(error)) from None
    click.echo(str(ring.entry))


@keys.command()
@options.keys
@options.as_json
def show(as_json: bool) -> None:
    """This machine's own key, which is no secret, and whose it lets in."""
    from .. import keys as places

    ring = places.read(_folder())
    if as_json:
        import msgspec

        told = {"own": str(ring.entry), "allowed": [str(one) for one in ring.allowed], "folder": str(ring.folder)}
        click.echo(msgspec.json.encode(told))
        return
    click.echo(str(ring.entry))
    for one in ring.allowed:
        click.echo(f"lets in {one}")


@keys.command()
@click.argument("entries", nargs=-1, required=True, metavar="NAME:KEY...")
@options.keys
def allow(entries: tuple[str, ...]) -> None:
    """Let these in, each by the name it may bear. To shut one out again, take its line from the file `allowed`."""
    from ...transport import security

    try:
        security.allow(_folder(), tuple(map(security.entry, entries)))
    except security.KeysError as error:
        raise Problem(str(error), Exit.USAGE) from None
