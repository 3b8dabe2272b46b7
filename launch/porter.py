"""What one connection does with large values: offers what is handed in, fetches what results refer to.

    connection                  Porter                            agent
      | offer(submit) ----------> | OfferBlobs(task, blobs) -----> |  asks for the parts that it does not have
      | <------ on_taken(task, "")| <------------------ BlobsTaken |  now the task may follow
      | await fetch(outcome) ---> | AskPart ---------------------> |
      | <----------- all is here  | <-------------------- BlobPart |

The carrier is the agents' own (`protocols/carrier.py`); the files are this process's (`spool.py`).

Invariants: what is handed in stays until the agent has taken the task, what is fetched until its outcome is told;
whatever the agent says, nothing is raised from here into the connection's turn.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..agents.blob_shell import BlobShell
from ..agents.blobs import blob_of
from ..protocols.blobs import (
    AskPart,
    BlobPart,
    BlobsRefused,
    BlobsTaken,
    CheckBlob,
    DoubtBlob,
    DropParts,
    Gather,
    Gathered,
    Key,
    NoBlob,
    OfferBlobs,
    ReadPart,
    WritePart,
)
from ..protocols.carrier import Carrier
from ..protocols.core import Effect, Message, NodeId, PeerDown, PeerError, Reference, References, Send
from . import spool
from .problems import Problem


class Porter:
    """Of one connection, on its loop. `agent` is who is at the other end; `on_taken` is told a task, and why its values
    were not taken (empty: they were). Raises OSError where there can be no folder."""

    def __init__(
        self,
        node: NodeId,
        agent: NodeId,
        send: Callable[[NodeId, Message], None],
        on_taken: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._agent = agent
        self._send = send
        self._on_taken = on_taken
        self._store = spool.store()
        self._carrier = Carrier(node, self._store.holds)
        self._store.keepers.append(self._carrier.pinned)
        self._shell = BlobShell(self._store, self._tell)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fetches = itertools.count(1)
        self._fetching: dict[Key, tuple[asyncio.Future[None], References]] = {}

    def offer(self, task: str, blobs: Sequence[Reference]) -> None:
        """Before the task is handed in; `done` when it is. What is not here, the agent may have."""
        here = [blob for blob in blobs if self._store.folder.has(blob_of(blob))]
        if refusal := self._store.adopt(here):
            self._loop.call_soon(self._on_taken, task, refusal)
            return
        self._carrier.keep(("submit", task), here)
        self._send(self._agent, OfferBlobs(task, tuple(blobs)))

    def done(self, task: str) -> None:
        """The agent has the task, or will not have it."""
        self._perform(self._carrier.release(("submit", task)))

    async def fetch(self, blobs: Sequence[Reference]) -> None:
        """Until all of them are here. Raises Problem if they cannot be had."""
        key = ("fetch", str(next(self._fetches)))
        fetched = self._loop.create_future()
        self._fetching[key] = fetched, tuple(blobs)
        try:
            self._tell(Gather(key, tuple(blobs), (self._agent,)))
            await fetched
        finally:
            del self._fetching[key]
            self._perform(self._carrier.release(key))

    def go_over(self, agent: NodeId) -> None:
        """Another agent is at the other end: what is on its way comes from there."""
        former, self._agent = self._agent, agent
        for key, (_, blobs) in list(self._fetching.items()):
            self._tell(Gather(key, blobs, (agent,)))
        if former != agent:
            self._tell(PeerDown(former))

    def receive(self, message: Message, sender: NodeId) -> bool:
        """Was it one of these messages?"""
        match message:
            case BlobsTaken(task):
                self._on_taken(task, "")
            case BlobsRefused(task, error):
                self._on_taken(task, error)
            case AskPart() | BlobPart() | NoBlob() | DoubtBlob():
                with suppress(PeerError):
                    self._perform(self._carrier.receive(message, sender, self._loop.time()))
            case _:
                return False
        return True

    def close(self, error: Exception) -> None:
        """Whoever waits for something is told so."""
        for fetched, _ in self._fetching.values():
            if not fetched.done():
                fetched.set_exception(error)
        if self._timer is not None:
            self._timer.cancel()
        self._shell.close()
        with suppress(ValueError):
            self._store.keepers.remove(self._carrier.pinned)

    def _tell(self, message: Message) -> None:
        self._perform(self._carrier.receive(message, self._node, self._loop.time()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(_, Gathered(key, error)):
                    fetched, _ = self._fetching.get(key, (None, ()))
                    if fetched is None or fetched.done():
                        continue
                    if error:
                        fetched.set_exception(Problem(f"a large result could not be fetched: {error}"))
                    else:
                        fetched.set_result(None)
                case Send(to, message):
                    self._send(to, message)
                case ReadPart() | WritePart() | DropParts() | CheckBlob():
                    self._shell.perform(effect)
        deadline = self._carrier.deadline
        if deadline is not None and self._timer is None:
            self._timer = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._perform(self._carrier.wake(self._loop.time()))
