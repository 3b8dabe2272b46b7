"""The commands that talk to an agent: hand a task in, see the fleet."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from ..agents.payload import unpack
from ..protocols.core import Outcome, State
from ..protocols.requests import NodeLine
from . import discovery
from .client import AgentUnreachable, Connection, failure
from .problems import Exit, Problem


def find(agents: Sequence[str]) -> tuple[str, ...]:
    """The addresses to talk to: those named, else the newest agent of this machine."""
    if agents:
        return tuple(agents)
    entry = discovery.newest()
    if entry is None:
        raise AgentUnreachable("no agent runs here: start one with `parley up --name n1`, or name one with --agent")
    return (entry.address,)


def parse(arguments: str) -> object:
    """The arguments of a task from the command line."""
    try:
        value: object = msgspec.json.decode(arguments)
    except msgspec.DecodeError as error:
        raise Problem(f"--args is no JSON: {error}", Exit.USAGE) from None
    if not isinstance(value, (dict, list)):
        raise Problem("--args must be a JSON object (named arguments) or a list", Exit.USAGE)
    return value


async def submit(agents: Sequence[str], kind: str, arguments: object, work: float | None, timeout_s: float) -> Outcome:
    """Hand one task in and wait for its end."""
    async with await Connection.connect(agents) as client:
        return await client.submit(kind, arguments, work=work, timeout_s=timeout_s)


async def nodes(agents: Sequence[str]) -> tuple[NodeLine, ...]:
    async with await Connection.connect(agents) as client:
        return await client.nodes()


def show(outcome: Outcome, as_json: bool) -> None:
    """The value on stdout; what went wrong as a Problem with its exit code."""
    value = unpack(outcome.value) if outcome.state is State.DONE else None
    if as_json:
        line = {
            "task": outcome.task,
            "state": outcome.state,
            "value": value,
            "node": outcome.node,
            "epoch": outcome.epoch,
            "attempts": outcome.attempts,
            "seconds": outcome.seconds,
            "error": outcome.error or None,
        }
        click.echo(msgspec.json.encode(line, enc_hook=_plain))
    elif outcome.state is State.DONE:
        click.echo(msgspec.json.encode(value, enc_hook=_plain))
    if outcome.state is not State.DONE:
        raise failure(outcome, f"task {outcome.task}: {outcome.error}")


def _plain(value: object) -> object:
    """numpy arrays and numbers as lists and numbers."""
    plain = getattr(value, "tolist", None)
    if plain is None:
        raise NotImplementedError(f"a {type(value).__name__} has no JSON form")
    return plain()


def show_nodes(lines: Sequence[NodeLine], as_json: bool) -> None:
    if as_json:
        click.echo(
            msgspec.json.encode(
                [
                    {
                        "node": line.node,
                        "state": line.state,
                        "address": line.address,
                        "speed": line.speed,
                        "slots": line.slots,
                    }
                    for line in lines
                ]
            )
        )
        return
    click.echo(f"{'NODE':<16} {'STATE':<8} {'SPEED':>6} {'SLOTS':>5}  ADDRESS")
    for line in lines:
        click.echo(f"{line.node:<16} {line.state:<8} {line.speed:>6g} {line.slots:>5}  {line.address}")
