"""`parley up`: this node's agent, in the foreground, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from ..agents.events import Level, LogError
from ..agents.resources import Resources
from ..agents.runtime import Node
from ..protocols.award_rules import RULES
from ..protocols.membership import Presence
from ..transport.zeromq import AddressError
from .client import Connection
from .discovery import announced
from .fleet import Listening
from .problems import Exit, Problem

JOIN_S = 10.0
GARBAGE_EVERY = 50_000
"""Objects made before the garbage collector looks for cycles among them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """The flags of `parley up`, as they came."""

    name: str
    join: tuple[str, ...]
    bind: str
    slots: int
    speed: float
    fastest: float | None
    allow: tuple[str, ...]
    code: tuple[Path, ...]
    rule: str
    folder: Path | None
    log_level: Level
    seed: int
    with_parent: bool
    as_json: bool


async def serve(settings: Settings) -> None:
    """Listen, join, and work until SIGTERM or SIGINT. Raises Problem."""
    if not NAME.fullmatch(settings.name):
        raise Problem(f"{settings.name!r} is no name for a node: use letters, digits, . _ and -", Exit.USAGE)
    await _check_fleet(settings)
    node = _start(settings)
    gc.freeze()  # what stands now stands for good; what comes is mostly free of cycles
    gc.set_threshold(GARBAGE_EVERY)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    bugs: list[str] = []

    def crash(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An agent that has misused itself does not limp on: others take over its work."""
        loop.default_exception_handler(context)
        bugs.append(str(context.get("exception") or context["message"]))
        stop.set()

    loop.set_exception_handler(crash)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.with_parent:
        loop.add_reader(sys.stdin.fileno(), _until_closed, stop)
    entry = Listening(settings.name, node.address, os.getpid())
    try:
        with announced(entry):
            for address in settings.join:
                node.join(address)
            if settings.join:
                await _joined(node, settings)
            _say(entry, settings.as_json)
            await stop.wait()
    finally:
        await node.close("a bug" if bugs else "stopped")
    if bugs:
        raise Problem(f"the agent stopped on a bug of its own, told above: {bugs[0]}")


def _start(settings: Settings) -> Node:
    folder = settings.folder or Path.home() / ".local/state/parley" / settings.name
    resources = Resources(settings.slots, settings.speed, settings.fastest or settings.speed, settings.allow)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Node(
            settings.name,
            resources,
            bind=settings.bind,
            folder=folder,
            code=settings.code,
            seed=settings.seed,
            rule=RULES[settings.rule],
            level=settings.log_level,
        )
    except AddressError as error:
        raise Problem(str(error), Exit.USAGE) from None
    except (LogError, OSError) as error:
        raise Problem(f"cannot write its log in {folder}: {error}") from None


async def _check_fleet(settings: Settings) -> None:
    """Whoever is to be joined must answer, and must not know a living node of our name."""
    if not settings.join:
        return
    async with await Connection.connect(settings.join, timeout_s=JOIN_S) as client:
        lines = await client.nodes()
    if any(line.node == settings.name and line.state is Presence.ALIVE for line in lines):
        raise Problem(f"a node named {settings.name} is in this fleet already: choose another --name", Exit.USAGE)


async def _joined(node: Node, settings: Settings) -> None:
    for _ in range(int(JOIN_S / 0.01)):
        if node.joined:
            return
        await asyncio.sleep(0.01)
    where = " or ".join(settings.join)
    raise Problem(f"the agent at {where} answers, but let nobody in within {JOIN_S:g} s", Exit.UNREACHABLE)


def _until_closed(stop: asyncio.Event) -> None:
    """The process that started us holds the other end of our stdin: when it goes, we go."""
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _say(entry: Listening, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(entry))
    else:
        click.echo(f"{entry.node} listens at {entry.address}", err=True)
        click.echo(f"others join it with: parley up --name NAME --join {entry.address}", err=True)
