"""A client of any agent: hands tasks in, is told how they ended.

    client = await Client.connect(["tcp://127.0.0.1:4100"])
    outcome = await client.submit("echo", {"text": "hello"})

It has one socket of its own and listens on none. What it says arrives once and in order while both ends live; an agent
that no longer answers fails what is under way with `AgentUnreachable`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Sequence

from ..agents.agent import MESSAGES
from ..agents.payload import PayloadError, pack, unpack
from ..protocols.core import Message, NodeId, Outcome, PeerError, State, Task
from ..protocols.service import (
    UNREAD_BYTES_MAX,
    UNREAD_MAX,
    AskNodes,
    NodeLine,
    Nodes,
    Read,
    Refused,
    Result,
    Submit,
    Submitted,
)
from ..transport.clock import HybridClock
from ..transport.codec import Codec
from ..transport.links import Cause, Links
from ..transport.zeromq import AddressError, Endpoint
from .problems import Exit, Problem

CONNECT_S = 3.0
PROBE_EVERY_S = 1.0
GONE_S = 5.0
"""An agent that leaves a question unanswered for so long is gone."""
READ_EVERY = UNREAD_MAX // 4
READ_EVERY_BYTES = UNREAD_BYTES_MAX // 4
UNANSWERED_MAX = 1_000
UNANSWERED_BYTES_MAX = 8 * 1024 * 1024
"""Submissions under way that the agent has not answered: no more than a link can hold."""
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


class AgentUnreachable(Problem):
    """Nobody answers at the address, or nobody does any longer."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Exit.UNREACHABLE)


class TaskRefused(Problem):
    """The task cannot be handed in as it is."""


def new_task_id() -> str:
    """12 random Crockford base-32 characters."""
    bits = secrets.randbits(60)
    return "".join(CROCKFORD[bits >> shift & 31] for shift in range(0, 60, 5))


def make_task(
    kind: str, arguments: object, *, work: float | None = None, timeout_s: float = 3600.0
) -> tuple[Task, bytes]:
    """A task and its payload. Raises TaskRefused for an argument that cannot travel or is too large."""
    if not 1 <= len(kind) <= 128:
        raise TaskRefused("a kind has 1 to 128 characters", Exit.USAGE)
    if work is None and kind == "sleep" and isinstance(arguments, dict):
        seconds = arguments.get("seconds")
        work = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds <= 1e9 else None
    try:
        payload = pack(arguments)
    except PayloadError as error:
        raise TaskRefused(str(error), Exit.USAGE) from None
    return Task(new_task_id(), kind, work, len(payload), timeout_s), payload


class Client:
    """One connection to one agent. Make it with `connect`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._outcomes: dict[str, asyncio.Future[Outcome]] = {}
        self._asked: dict[int, asyncio.Future[tuple[NodeLine, ...]]] = {}
        self._requests = itertools.count(1)
        self._outbox: deque[tuple[Task, bytes]] = deque()  # submissions that wait for earlier ones to be answered
        self._unanswered: dict[str, int] = {}  # bytes of each submission under way
        self._unanswered_bytes = 0
        self._results = 0
        self._results_told = 0
        self._unread_bytes = 0
        links = Links(
            f"client-{secrets.token_hex(8)}", time.time_ns() // 1_000, Codec(MESSAGES), HybridClock(time.time)
        )
        self._endpoint = Endpoint(
            links,
            bind=None,
            on_message=self._on_message,
            on_garbage=lambda error: None,
            on_turn=self._on_turn,
        )
        self._probe: asyncio.Task[None] | None = None
        try:
            self._agent: NodeId = self._endpoint.open(address)
        except AddressError as error:
            self._endpoint.close()
            raise Problem(str(error), Exit.USAGE) from None

    @classmethod
    async def connect(cls, addresses: Sequence[str], timeout_s: float = CONNECT_S) -> Client:
        """A client of the first of these agents that answers. Raises AgentUnreachable if none does in time."""
        for address in addresses:
            client = cls(address)
            try:
                await asyncio.wait_for(client.nodes(), timeout_s / len(addresses))
            except TimeoutError:
                client.close()
            else:
                client._probe = asyncio.create_task(client._keep_asking())
                return client
        where = " or ".join(addresses)
        raise AgentUnreachable(f"no agent answers at {where}: is it running? `parley up` starts one")

    async def nodes(self) -> tuple[NodeLine, ...]:
        """The fleet as this agent sees it."""
        request = next(self._requests)
        answer: asyncio.Future[tuple[NodeLine, ...]] = asyncio.get_running_loop().create_future()
        self._asked[request] = answer
        self._endpoint.send(self._agent, AskNodes(request))
        try:
            return await answer
        finally:
            del self._asked[request]

    async def ready(self, nodes: int, timeout_s: float) -> tuple[NodeLine, ...]:
        """Wait until so many nodes are ready for work. Raises AgentUnreachable if they are not in time."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            lines = await self.nodes()
            if sum(line.ready for line in lines) >= nodes:
                return lines
            await asyncio.sleep(0.005)
        raise AgentUnreachable(f"the {nodes} nodes were not ready within {timeout_s:g} s")

    def submit(
        self, kind: str, arguments: object, *, work: float | None = None, timeout_s: float = 3600.0
    ) -> asyncio.Future[Outcome]:
        """Hand a task in; the future ends with its outcome. `work`: its seconds on a node of speed 1, if known."""
        task, payload = make_task(kind, arguments, work=work, timeout_s=timeout_s)
        return self.hand_in(task, payload)

    def hand_in(self, task: Task, payload: bytes) -> asyncio.Future[Outcome]:
        """Like `submit`, for a task that is made already."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._outcomes[task.id] = future
        self._outbox.append((task, payload))
        self._submit_next()
        return future

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
        self._endpoint.close()

    def _submit_next(self) -> None:
        """As many submissions as may be under way; the agent is not flooded."""
        while self._outbox and len(self._unanswered) < UNANSWERED_MAX:
            task, payload = self._outbox[0]
            if self._unanswered and self._unanswered_bytes + len(payload) > UNANSWERED_BYTES_MAX:
                return
            self._outbox.popleft()
            self._unanswered[task.id] = len(payload)
            self._unanswered_bytes += len(payload)
            self._endpoint.send(self._agent, Submit(task, payload))

    def _answered(self, task: str) -> None:
        self._unanswered_bytes -= self._unanswered.pop(task, 0)
        self._submit_next()

    def _on_turn(self) -> None:
        """Tell now and then how many results have been read: the agent waits for it when many were not."""
        if self._results - self._results_told >= READ_EVERY or self._unread_bytes >= READ_EVERY_BYTES:
            self._results_told = self._results
            self._unread_bytes = 0
            self._endpoint.send(self._agent, Read(self._results))

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        match message:
            case Nodes(request, nodes):
                answer = self._asked.get(request)
                if answer is not None and not answer.done():
                    answer.set_result(nodes)
            case Result(outcome):
                self._results += 1
                self._unread_bytes += len(outcome.value)
                self._end(outcome.task, outcome)
            case Refused(task, error):
                self._answered(task)
                self._end(task, Outcome(task, State.FAILED, error=f"not taken: {error}"))
            case Submitted(task):
                self._answered(task)
            case _:
                raise PeerError(f"{sender} sent {type(message).__name__}, which a client is not told")

    def _end(self, task: str, outcome: Outcome) -> None:
        future = self._outcomes.pop(task, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    async def _keep_asking(self) -> None:
        """While something is under way, a silent agent is asked whether it lives."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if not self._outcomes:
                continue
            try:
                await asyncio.wait_for(self.nodes(), GONE_S)
            except TimeoutError:
                gone = AgentUnreachable(f"the agent at {self.address} has not answered for {GONE_S:g} s")
                for future in self._outcomes.values():
                    if not future.done():
                        future.set_exception(gone)
                self._outcomes.clear()


def result(outcome: Outcome) -> object:
    """The value of a task that is done; raises Problem with its error otherwise."""
    if outcome.state is State.DONE:
        return unpack(outcome.value)
    raise failure(outcome, outcome.error)


def failure(outcome: Outcome, sentence: str) -> Problem:
    """A task that is not done, as a Problem with its exit code."""
    return Problem(sentence, Exit.UNPLACED if outcome.state is State.UNPLACED else Exit.FAILURE)
