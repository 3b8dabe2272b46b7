"""`parley up`: this node's agent, in the foreground, until it is told to go.

    SIGTERM or SIGINT -> it drains: takes nothing more, ends what it has, and leaves; --drain-timeout is the limit
                         a second one: it leaves at once                             (exit 143 or 130)
    a drain by wire   -> the same, without a limit: `parley drain` waits as long as it likes
    its parent's end  -> it leaves at once (--with-parent: agents of a local fleet)

Leaving, it says so, and what it had and did not end goes to others.

Invariant: what is wrong with its flags, its addresses or its folder is one sentence, before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec

from ..agents.bidder import BidderError
from ..agents.events import Level, LogError
from ..agents.executors.http_connection import HttpError
from ..agents.executors.workshop import ExecutorError
from ..agents.journal import JournalError
from ..agents.resources import Resources
from ..agents.runtime import Node
from ..protocols.award_rules import RULES
from ..protocols.batch_words import Mode
from ..protocols.batches import Policy
from ..protocols.core import Dividing
from ..protocols.membership import MISSED_S
from ..protocols.swim_words import LIVING
from ..transport.address import AddressError, exact
from ..transport.security import Ring
from . import keys, machine
from .client import Connection
from .discovery import Entry, announced
from .fleet import Listening
from .places import state_folder
from .problems import Exit, Problem

JOIN_S = 10.0
TAKEN_S = MISSED_S + 1.0
"""So long a node of our name may be our own former life, whose end the fleet has not noticed yet."""
ASK_AGAIN_S = 0.1
SWITCH_S = 0.0005
"""So long the journal's thread waits for a loop that is busy."""
GARBAGE_EVERY = 50_000
"""Objects made before the garbage collector looks for cycles among them."""


@dataclass(frozen=True)
class Settings:
    """The flags of `parley up`, as they came."""

    name: str
    join: tuple[str, ...]
    bind: str
    insecure: bool
    advertise: str | None
    slots: int
    speed: float
    fastest: float | None
    tags: tuple[str, ...]
    haves: tuple[tuple[str, float], ...]
    allow: tuple[str, ...]
    code: tuple[Path, ...]
    http: tuple[str, ...]
    valuation: str | None
    executors: tuple[str, ...]
    rule: str
    dividing: str
    mode: str
    trade: bool
    probes: int
    folder: Path | None
    log_level: Level
    holders: int
    journal: bool
    seed: int
    drain_s: float
    with_parent: bool
    as_json: bool

    @property
    def resources(self) -> Resources:
        """What the node has: what its owner says, and of the rest what the machine has."""
        amounts = {**machine.capacity(), **dict(self.haves)}
        return Resources(self.slots, self.speed, self.fastest or self.speed, self.allow, self.tags, amounts)

    @property
    def home(self) -> Path:
        """Where its log lies."""
        return self.folder or state_folder() / self.name


async def serve(settings: Settings) -> None:
    """Listen, join, and work until it is told to go. Raises Problem."""
    local = _local_address(settings)
    join = _others(settings)
    ring = _ring(settings)
    with _alone(settings):
        await _check_fleet(settings.name, join, ring)
        node = _start(settings, ring)
        gc.freeze()  # what stands now stands for good; what comes is mostly free of cycles
        gc.set_threshold(GARBAGE_EVERY)
        sys.setswitchinterval(SWITCH_S)
        ending = Ending(node, settings)
        try:
            folder = str(ring.folder.absolute()) if ring is not None else ""
            with announced(Entry(settings.name, local or node.address, os.getpid(), version("parley"), folder)):
                for address in join:
                    node.join(address)
                if join:
                    await ending.first(_joined(node, join))
                if node.forgotten:
                    _hint(f"{settings.name} {node.forgotten}: it begins as a new node, whatever one of its name held")
                if not ending.told:
                    _say(Listening(settings.name, node.address, os.getpid()), settings, ring)
                await ending.wait()
        finally:
            await node.close(ending.reason)
    ending.report()


class Ending:
    """How this agent comes to its end: who has told it to go, and whether it has."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self._node = node
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._now = asyncio.Event()  # leave at once
        self._signals = 0
        self._bug = ""
        self._problem: Problem | None = None
        self.reason = "stopped"
        self._loop.set_exception_handler(self._crashed)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number)
        if settings.with_parent:
            self._loop.add_reader(sys.stdin.fileno(), self._parent_told)

    @property
    def told(self) -> bool:
        """It has been told to go."""
        return self._signals > 0 or self._now.is_set()

    async def wait(self) -> None:
        """Until it may leave."""
        await self.first(self._node.drained.wait())
        if self._node.drained.is_set():
            self.reason = "drained"

    async def first(self, work: Coroutine[Any, Any, object]) -> None:
        """Until this is done, or it must leave at once."""
        done, now = self._loop.create_task(work), self._loop.create_task(self._now.wait())
        try:
            await asyncio.wait((done, now), return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                done.result()
        finally:
            done.cancel()
            now.cancel()

    def report(self) -> None:
        """Raises Problem if it did not end in order."""
        if self._bug:
            raise Problem(f"the agent stopped on a bug of its own, told above: {self._bug}")
        if self._problem is not None:
            raise self._problem

    def _signalled(self, number: signal.Signals) -> None:
        self._signals += 1
        if self._signals == 1:
            self._node.drain()
            self._loop.call_later(self._settings.drain_s, self._out_of_time)
            _hint(
                f"{self._settings.name} ends what it has, and leaves in {self._settings.drain_s:g} s at the latest; "
                "a second signal makes it leave at once"
            )
        else:
            code = Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
            self.reason = "told twice"
            self._problem = Problem("told twice to go, it left at once: what it had is given back", code)
            self._now.set()

    def _out_of_time(self) -> None:
        self.reason = "out of time to drain"
        self._now.set()

    def _parent_told(self) -> None:
        """The process that started us holds the other end of our stdin: when it goes, we go."""
        if not os.read(sys.stdin.fileno(), 1024):
            self._loop.remove_reader(sys.stdin.fileno())
            self._now.set()

    def _crashed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An agent that has misused itself does not limp on: others take over its work."""
        self._loop.default_exception_handler(context)
        self._bug = str(context.get("exception") or context["message"])
        self.reason = "a bug"
        self._now.set()


# --- before it listens -----------------------------------------------------------------------------------------------


def _local_address(settings: Settings) -> str | None:
    """Where this machine itself reaches the agent, if that is not what others are told. Raises Problem."""
    bind, told = _exact(settings.bind), settings.advertise
    if not bind.startswith("tcp://"):
        return None
    host, _, port = bind.removeprefix("tcp://").rpartition(":")
    itself = _itself(host)
    if told is None:
        if itself != host:
            raise Problem(
                f"{settings.bind} is no address that others can dial: say with --advertise which of this machine's "
                f"they are to use, as in --advertise tcp://{machine.host_name()}:{port}",
                Exit.USAGE,
            )
        return None
    wanted = told.rpartition(":")[2]
    if port == "0" and wanted != "0":
        raise Problem(
            f"--advertise names the port {wanted}, and --bind takes any that is free: bind a port of its own, "
            "or advertise port 0 for the one that is bound",
            Exit.USAGE,
        )
    return None if port == "0" else f"tcp://{itself}:{port}"


def _itself(host: str) -> str:
    """The host, or the loopback where it means all addresses of a machine."""
    if host == "*":
        return "127.0.0.1"
    address = ipaddress.ip_address(host.strip("[]"))
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "[::1]"


def _exact(address: str) -> str:
    try:
        return exact(address, bind=True)
    except AddressError as error:
        raise Problem(str(error), Exit.USAGE) from None


def _others(settings: Settings) -> tuple[str, ...]:
    """Whom to join: not ourselves, who stand in a list that all nodes of a fleet share. Raises Problem."""
    own = {_exact(settings.bind), settings.advertise}
    try:
        return tuple(one for one in settings.join if one not in own and exact(one, bind=False) not in own)
    except AddressError as error:
        raise Problem(str(error), Exit.USAGE) from None


def _ring(settings: Settings) -> Ring | None:
    """Who gets in; None: everybody. Raises Problem."""
    bind = _exact(settings.bind)
    ring = keys.for_agent(bind, insecure=settings.insecure)
    if ring is not None and keys.beyond(bind) and not ring.entry.covers(settings.name):
        raise Problem(
            f"others know this key as {ring.name}: say --name {ring.name}, or --name {ring.name}.something", Exit.USAGE
        )
    return ring


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """The folder is there, and no living agent of this name writes into it. Raises Problem."""
    log = settings.home / f"{settings.name}.jsonl"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Problem(f"cannot write the log {log}: {_why(error)}; choose another folder with --folder") from None
    try:
        _lock(held, settings.name, log)
        yield
    finally:
        os.close(held)


def _lock(held: int, name: str, log: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Problem(
            f"an agent named {name} runs here already, with its log in {log.parent}: choose another --name", Exit.USAGE
        ) from None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


async def _check_fleet(name: str, join: tuple[str, ...], ring: Ring | None) -> None:
    """Whoever is to be joined must answer, and must not know a living node of our name. Raises Problem."""
    if not join:
        return
    loop = asyncio.get_running_loop()
    give_up = loop.time() + TAKEN_S
    async with await Connection.connect(join, timeout_s=JOIN_S, ring_of=lambda _: ring) as client:
        while any(line.node == name and line.state in LIVING for line in await client.nodes()):
            if loop.time() > give_up:
                raise Problem(f"a node named {name} is in this fleet already: choose another --name", Exit.USAGE)
            await asyncio.sleep(ASK_AGAIN_S)


def _start(settings: Settings, ring: Ring | None) -> Node:
    """Raises Problem."""
    try:
        return Node(
            settings.name,
            settings.resources,
            bind=settings.bind,
            folder=settings.home,
            advertise=settings.advertise,
            code=settings.code,
            http=settings.http,
            http_key=os.environ.pop("PARLEY_HTTP_KEY", None),  # so that no task finds it in its environment
            valuation=settings.valuation,
            executors=settings.executors,
            seed=settings.seed,
            rule=RULES[settings.rule],
            policy=Policy(Dividing(settings.dividing), Mode(settings.mode), settings.trade),
            probes=settings.probes,
            level=settings.log_level,
            holders=settings.holders,
            journal=settings.home / "journals" / settings.name if settings.journal else None,
            ring=ring,
        )
    except (AddressError, HttpError, BidderError, ExecutorError) as error:
        raise Problem(str(error), Exit.USAGE) from None
    except (LogError, JournalError) as error:
        raise Problem(str(error)) from None


async def _joined(node: Node, join: tuple[str, ...]) -> None:
    for _ in range(int(JOIN_S / 0.01)):
        if node.joined or node.drained.is_set():
            return
        await asyncio.sleep(0.01)
    where = " or ".join(join)
    raise Problem(f"the agent at {where} answers, but let nobody in within {JOIN_S:g} s", Exit.UNREACHABLE)


# --- what it says ----------------------------------------------------------------------------------------------------


def _say(listening: Listening, settings: Settings, ring: Ring | None) -> None:
    if settings.as_json:
        click.echo(msgspec.json.encode(listening))
        return
    click.echo(f"{listening.node} listens at {listening.address}")
    _hint(f"others join it with: parley up --name NAME --join {listening.address}")
    if ring is None and keys.beyond(_exact(settings.bind)):
        _hint("nothing is encrypted and nobody is kept out: whoever reaches this address may hand work in")


def _hint(sentence: str) -> None:
    """For a person who watches."""
    if sys.stderr.isatty():
        click.echo(sentence, err=True)
