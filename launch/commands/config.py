"""`parley config`: the settings that hold here, where each comes from, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import options
from ..problems import Exit, Problem

if TYPE_CHECKING:
    from ..config import Fault, Known


@click.group()
def config() -> None:
    """The settings, and where each comes from.

    A flag that is typed goes before the environment (PARLEY_AGENT, PARLEY_UP_SLOTS, ...), that before ./parley.toml,
    that before ~/.config/parley/config.toml. In a file, `agent` and `keys` are the --agent and the --keys of every
    command, and the flags of `parley up` stand below [up].
    """


@config.command()
@click.option("--origin", "with_origin", is_flag=True, help="And where each comes from.")
@options.as_json
def show(with_origin: bool, as_json: bool) -> None:
    """Every setting as it holds here, in the form of a file."""
    from .. import config as settings

    known = settings.everything(settings.load())
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(_nested(known, with_origin)))
        return
    for one in known:
        click.echo(_line(one, with_origin))


def _line(one: Known, with_origin: bool) -> str:
    from ..config import as_toml

    line = f"# {one.key} is not set" if one.value is None else f"{one.key} = {as_toml(one.value)}"
    return f"{line:<48}  # {one.place or one.origin}" if with_origin and one.value is not None else line


def _nested(known: list[Known], with_origin: bool) -> dict[str, object]:
    """{"agent": ..., "up": {"slots": ...}}."""
    up: dict[str, object] = {}
    found: dict[str, object] = {"up": up}
    for one in known:
        table, _, name = one.key.rpartition(".")
        told = {"value": one.value, "origin": one.origin, "place": one.place or None} if with_origin else one.value
        (up if table else found)[name] = told
    return found


@config.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@options.as_json
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Whether files are sound: those named, or those of here, and the environment."""
    from .. import config as settings

    wanted = files or tuple(file for file in settings.places() if file.exists())
    faults = [fault for file in wanted for fault in settings.check(file)[1]]
    if not files:
        faults += settings.check_environment()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({"files": list(map(str, wanted)), "faults": [f._asdict() for f in faults]}))
    else:
        _report(wanted, faults)
    if faults:
        raise Problem(f"{len(faults)} {'setting is' if len(faults) == 1 else 'settings are'} wrong", Exit.USAGE)


def _report(files: tuple[Path, ...], faults: list[Fault]) -> None:
    """One line per file that is sound, and per fault."""
    from ..config import shown

    wrong = {fault.place for fault in faults}
    for file in files:
        if shown(file) not in wrong:
            click.echo(f"{shown(file)}: nothing is wrong")
    for fault in faults:
        click.echo(str(fault))
    if not files and not faults:
        click.echo("there is no file with settings here: nothing is wrong")
