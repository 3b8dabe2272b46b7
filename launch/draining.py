"""`parley drain`: let a node end what it has, and watch it go.

    any agent         -> which nodes are there, and where is this one?
    the node itself   -> drain; then, as long as it answers: how much runs there still
    another node      -> has it left, or died? Where there is no other: nobody listens at its address any more

It is asked to drain once: whoever takes its place, under its name and at its address, is not asked to go as well.

Invariant: "left" is said of a node that has left, or whose place another life has taken; never of one that is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from ..protocols.requests import Draining, NodeLine
from ..protocols.swim_words import LIVING, Presence
from ..transport.address import AddressError, exact
from . import desk, discovery
from .client import GONE_S, Connection
from .problems import AgentUnreachable, Exit, Problem, did_you_mean

LOOK_EVERY_S = 0.1
ANSWER_S = 0.5
"""A node that leaves a question unanswered for so long may have gone."""


class Drained(msgspec.Struct, frozen=True):
    """What `parley drain --json` prints: what ran there, what was handed in there, when it was told; has it left?"""

    node: str
    address: str
    running: int
    open: int
    left: bool
    seconds: float


Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told how many attempts run on the node, and how many tasks that were handed in there have not ended, if known."""


async def drain(
    agents: Sequence[str], node: str | None, *, wait: bool, timeout_s: float | None, on_progress: Progress
) -> Drained:
    """Let a node go (None: the one that is talked to). Raises Problem; TIMEOUT when it is not gone in time."""
    begun = asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as stack:
        asked = await stack.enter_async_context(desk.connected(agents))
        lines = await asked.nodes()
        line = _chosen(lines, node or _own_name(lines, asked, agents))
        itself = asked
        if line.node != _own_name(lines, asked, agents):
            itself = await stack.enter_async_context(await _reached(line))
        witness = asked if itself is not asked else await _other(lines, line, stack)
        told = await _told_to_go(line, itself, witness)
        on_progress(line.node, told.running, told.open)
        if wait:
            try:
                async with asyncio.timeout(timeout_s):
                    await _gone(line, itself, witness, on_progress)
            except TimeoutError:
                raise Problem(await _still_there(line, itself, timeout_s), Exit.TIMEOUT) from None
    seconds = round(asyncio.get_running_loop().time() - begun, 3)
    return Drained(line.node, line.address, told.running, told.open, wait, seconds)


# --- which node ------------------------------------------------------------------------------------------------------


def _own_name(lines: Sequence[NodeLine], asked: Connection, agents: Sequence[str]) -> str:
    """Of the agent that is talked to; "" if it cannot be told, as it calls itself by another address."""
    if len(lines) == 1:
        return lines[0].node
    if not agents and (entry := discovery.newest()) is not None and entry.address == asked.address:
        return entry.node
    try:
        address = exact(asked.address, bind=False)
    except AddressError:
        address = asked.address
    return next((line.node for line in lines if line.address in (asked.address, address)), "")


def _chosen(lines: Sequence[NodeLine], node: str) -> NodeLine:
    """Its line. Raises Problem if there is nobody of that name who could leave."""
    names = [line.node for line in lines]
    if not node:
        raise Problem(f"say which node is to be drained: {', '.join(names)}", Exit.USAGE)
    line = next((line for line in lines if line.node == node), None)
    if line is None:
        meant = did_you_mean(node, names) or f": the nodes are {', '.join(names)}"
        raise Problem(f"there is no node {node} in this fleet{meant}", Exit.USAGE)
    if line.state not in LIVING:
        raise Problem(f"{node} is not there any more: it {_went(line.state)}")
    return line


def _went(state: Presence) -> str:
    return "has left" if state is Presence.LEFT else "is dead"


async def _reached(line: NodeLine) -> Connection:
    try:
        return await Connection.connect([line.address])
    except AgentUnreachable:
        raise AgentUnreachable(f"{line.node} does not answer at {line.address}, where it said that it is") from None


async def _other(lines: Sequence[NodeLine], line: NodeLine, stack: contextlib.AsyncExitStack) -> Connection | None:
    """Any other node that can say what became of this one."""
    others = [other.address for other in lines if other.node != line.node and other.state is Presence.ALIVE]
    with contextlib.suppress(AgentUnreachable):
        return await stack.enter_async_context(await Connection.connect(others[:3])) if others else None
    return None


# --- until it has gone -----------------------------------------------------------------------------------------------


async def _told_to_go(line: NodeLine, itself: Connection, witness: Connection | None) -> Draining:
    """What it has to end. One with nothing to end may be gone before its answer is here."""
    try:
        return await itself.drain()
    except AgentUnreachable as lost:
        try:
            async with asyncio.timeout(GONE_S):
                await _gone(line, itself, witness)
        except TimeoutError:
            raise lost from None
        return Draining(0, 0, 0)


async def _gone(
    line: NodeLine, itself: Connection, witness: Connection | None, on_progress: Progress = lambda *told: None
) -> None:
    """Until it has left. Raises Problem if it died instead."""
    while True:
        own = await _seen(line.node, itself)
        seen = own if own is not None or witness is None else await _seen(line.node, witness)
        if seen is None:
            if witness is None and not await _listens(line.address):
                return
        elif seen.state is Presence.LEFT or seen.incarnation > line.incarnation:
            return
        elif seen.state is Presence.DEAD:
            raise Problem(f"{line.node} died before it had left: what it had goes to others")
        elif own is not None:
            on_progress(line.node, own.told.running, None)
        await asyncio.sleep(LOOK_EVERY_S)


async def _seen(node: str, by: Connection) -> NodeLine | None:
    """The node, as this agent sees it; None: it does not answer, or knows no such node."""
    with contextlib.suppress(TimeoutError, AgentUnreachable):
        lines = await asyncio.wait_for(by.nodes(), ANSWER_S)
        return next((line for line in lines if line.node == node), None)
    return None


async def _listens(address: str) -> bool:
    """Does anybody take connections there?"""
    try:
        async with asyncio.timeout(ANSWER_S):
            if address.startswith("ipc://"):
                path = address.removeprefix("ipc://")
                _, writer = await asyncio.open_unix_connection("\0" + path[1:] if path.startswith("@") else path)
            else:
                host, _, port = address.removeprefix("tcp://").rpartition(":")
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


async def _still_there(line: NodeLine, itself: Connection, timeout_s: float | None) -> str:
    own = await _seen(line.node, itself)
    if own is None:
        return f"{line.node} has not left within {timeout_s:g} s, and does not answer"
    running = own.told.running
    what = f"{running} {'attempt runs' if running == 1 else 'attempts run'} there"
    return f"{line.node} has not left within {timeout_s:g} s: {what}; it goes on ending what it has"


def told(drained: Drained) -> str:
    """How much there is to end, for people."""
    running, open_tasks = drained.running, drained.open
    if not running and not open_tasks:
        return "nothing is left to do there"
    return f"{running} running there, {open_tasks} handed in there and not ended"
