"""The part of `parley doctor` that asks others: agents of this machine, the fleet, model servers.

    entry of an agent that lives -> does it answer, and is it of our version?
    the agent that is talked to  -> its peers: dead, suspect, not ready, about to leave
    [up] http = URL              -> which models has it?

Every question has a limit; silence is a finding.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from importlib import metadata

from ..protocols.requests import NodeLine
from ..protocols.swim_words import Presence
from . import discovery
from .client import Connection
from .findings import Finding, note, ok, wrong
from .problems import Exit, Problem

ANSWER_S = 2.0


async def check_agents() -> list[Finding]:
    """Those that run on this machine."""
    entries = discovery.living()
    if not entries:
        return [note("agents", "no agent runs here; `parley up` starts one")]
    return list(await asyncio.gather(*map(_check_agent, entries)))


async def _check_agent(entry: discovery.Entry) -> Finding:
    what = f"{entry.node} (process {entry.pid}) at {entry.address}"
    ours = metadata.version("parley")
    if entry.version and entry.version != ours:
        do = f"end it, and start it anew: kill {entry.pid}"
        return wrong("agents", f"{what} is of version {entry.version}, and this is {ours}", do)
    if await _nodes((entry.address,)) is None:
        if _is_stopped(entry.pid):
            return wrong("agents", f"{what} is stopped", f"let it go on: kill -CONT {entry.pid}")
        return wrong("agents", f"{what} lives, and does not answer", f"see what it does, or end it: kill {entry.pid}")
    return ok("agents", f"{what} answers")


def _is_stopped(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


async def _nodes(addresses: Sequence[str]) -> tuple[NodeLine, ...] | None:
    """The fleet, as the first of these that answers sees it; None: none answers. Raises Problem for a bad address."""
    try:
        async with await Connection.connect(addresses, ANSWER_S) as agent:
            return await asyncio.wait_for(agent.nodes(), ANSWER_S)
    except TimeoutError:
        return None
    except Problem as problem:
        if problem.code is Exit.USAGE:
            raise
        return None


async def check_fleet(agents: Sequence[str]) -> list[Finding]:
    """The agent that commands would talk to, and how it sees its peers."""
    if not agents:
        entry = discovery.newest()
        if entry is None:
            return []
        agents = (entry.address,)
    where = " or ".join(agents)
    try:
        lines = await _nodes(agents)
    except Problem as problem:
        return [wrong("fleet", str(problem), "name another with --agent, PARLEY_AGENT or in a file")]
    if lines is None:
        do = "start it, look at the network between, or name another"
        return [wrong("fleet", f"no agent answers at {where}", do)]
    findings = [finding for line in lines if (finding := _peer(line)) is not None]
    there = sum(line.state is Presence.ALIVE and line.ready for line in lines)
    return [ok("fleet", f"the agent at {where} answers; {there} of {len(lines)} nodes are ready for work"), *findings]


def _peer(line: NodeLine) -> Finding | None:
    """What is to be said of a node."""
    what = f"{line.node} at {line.address}"
    match line.state:
        case Presence.DEAD:
            return wrong("fleet", f"{what} is dead: silent, and given up", "start it anew, or look at its machine")
        case Presence.SUSPECT:
            return wrong("fleet", f"{what} is suspect: silent for a while", "look at its machine, and at the network")
        case Presence.LEFT:
            return note("fleet", f"{what} has left")
    if not line.ready:
        do = "look whether both can reach each other's addresses: --advertise helps behind NAT, and firewalls hinder"
        return wrong("fleet", f"{what} is alive, and does not hear what is announced here", do)
    if line.told.draining:
        return note("fleet", f"{what} is about to leave: {line.told.running} running there")
    return None


async def check_server(url: str) -> list[Finding]:
    """Does this model server answer, and with which models?"""
    from ..agents.executors.http_connection import Connection as ServerConnection
    from ..agents.executors.http_connection import HttpError
    from ..agents.executors.http_models import Models

    try:
        server = ServerConnection(url, os.environ.get("PARLEY_HTTP_KEY"))
    except HttpError as error:
        return [wrong("servers", str(error), "see docs/http.md")]
    try:
        models = Models(server, time.monotonic)
        await models.refresh(lambda: 0)
        if models.trouble:
            return [wrong("servers", models.trouble, "start the server, or take it out of the settings")]
        names = [tag.removeprefix("model=") for tag in models.tags if tag.startswith("model=")]
        if not names:
            return [wrong("servers", f"{url} answers, and has no models", "have it pull one")]
        return [ok("servers", f"{url} has {', '.join(names)}")]
    finally:
        await server.close()
