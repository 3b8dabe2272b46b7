"""Tasks handed in one after another, as many as there are, with a bounded number under way.

    add(submission)  -> Submit ... Submit         up to UNDER_WAY_MAX that the agent has not answered
                     <- Submitted | Refused       in order: on_taken(id), or the reason why nothing more is handed in
    with on_ended:   <- Result                    up to OPEN_MAX that have not ended
    finish()                                      all are answered, and, with on_ended, have ended

An agent that is full says so; what it refused is handed in again until there is room, in the same order, since tasks
may come after earlier ones.

Invariant: the memory does not grow with the number of tasks; `on_taken` is called once for each task that the agent has
taken, in the order of `add`, whatever happens afterwards.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable

from ..protocols.core import Outcome, State
from ..protocols.requests import Submit
from .client import UNANSWERED_BYTES_MAX, Connection
from .handle import Handle
from .problems import Exit, Problem
from .submission import Submission, TaskRefused

UNDER_WAY_MAX = 1_000
OPEN_MAX = 10_000
"""Tasks whose end is waited for."""
FULL_S = 0.5
"""An agent that is full is asked again so much later."""
_NOT_TAKEN = "not taken: "
_FULL = re.compile(r"this agent holds \d+ tasks already")


class _Entry:
    """One submission: its tasks (several if there are replicas), and where it was read."""

    def __init__(self, submits: list[Submit], where: str) -> None:
        self.submits = submits
        self.where = where
        self.size = sum(len(submit.payload) for submit in submits)
        self.handles: list[Handle] = []
        self.round = 0
        """Of refusals by a full agent: how many there had been when it was handed in last."""

    @property
    def answered(self) -> bool:
        return all(handle.taken.done() for handle in self.handles)


class HandingIn:
    """A row of tasks for one agent. `on_taken` is told the id of each, `on_ended` how each ended."""

    def __init__(
        self,
        connection: Connection,
        on_taken: Callable[[str], None],
        on_ended: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._connection = connection
        self._on_taken = on_taken
        self._on_ended = on_ended
        self._under_way: deque[_Entry] = deque()
        self._bytes = 0
        self._round = 0
        self._open: set[str] = set()
        self._room = asyncio.Event()
        self._lost: BaseException | None = None
        self.problem: Problem | None = None
        """Why the agent did not take one of them."""
        self.taken = 0
        self.states: Counter[State] = Counter()
        """Of those that have ended, if that is waited for."""
        self.first_error = ""

    async def add(self, submission: Submission, where: str = "") -> None:
        """Hand it in, as soon as there is room. Raises Problem where one of those before it was not taken."""
        try:
            entry = _Entry(submission.submits(), where)
        except TaskRefused as error:
            raise TaskRefused(f"{where}: {error}" if where else str(error), error.code) from None
        self._hand_in(entry)
        self._under_way.append(entry)
        self._bytes += entry.size
        while self._under_way and (self._is_full() or self._under_way[0].answered):
            await self._settle_first()
        if len(self._open) >= OPEN_MAX:
            await self._until_open(OPEN_MAX - UNDER_WAY_MAX)  # many at a time: they share packets
        self._raise()

    async def answered(self) -> None:
        """Until the agent has answered to all of them. Raises Problem where one was not taken."""
        while self._under_way:
            await self._settle_first()
        self._raise()

    async def finish(self) -> None:
        """Until all are answered, and, where that is wanted, have ended. Raises Problem as `answered` does."""
        await self.answered()
        await self._until_open(0)
        self._raise()

    async def _until_open(self, most: int) -> None:
        """No more than so many have not ended, or the agent is lost."""
        while len(self._open) > most and self._lost is None:
            self._room.clear()
            await self._room.wait()

    def _raise(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self.problem is not None:
            raise self.problem

    def _is_full(self) -> bool:
        return len(self._under_way) >= UNDER_WAY_MAX or self._bytes >= UNANSWERED_BYTES_MAX

    def _hand_in(self, entry: _Entry) -> None:
        """All of it, or, if that is done, what was refused."""
        if not entry.handles:
            entry.handles = [self._connection.hand_in(submit) for submit in entry.submits]
        for place, handle in enumerate(entry.handles):
            if _refusal(handle) is not None:
                entry.handles[place] = self._connection.hand_in(entry.submits[place])
        entry.round = self._round

    async def _settle_first(self) -> None:
        """Whatever the agent says to the first of them."""
        entry = self._under_way[0]
        while (refusal := await self._answer(entry)) is not None:
            if _FULL.search(refusal):
                self._round += 1
                await asyncio.sleep(FULL_S)
            elif entry.round == self._round:
                break
            self._hand_in(entry)  # what it comes after may have been refused by a full agent, and is there now
        self._under_way.popleft()
        self._bytes -= entry.size
        if refusal is None:
            self.taken += 1
            self._on_taken(entry.submits[0].task.origin)
            if self._on_ended is not None:
                for handle in entry.handles:
                    self._watch(handle)
        elif self.problem is None:
            place = f"{entry.where}: " if entry.where else ""
            self.problem = Problem(f"{place}{_NOT_TAKEN}{refusal}", Exit.FAILURE)

    async def _answer(self, entry: _Entry) -> str | None:
        """Why it, or one of its replicas, was not taken; None: it was. Raises AgentUnreachable."""
        for handle in entry.handles:
            await handle.taken
        return next(filter(None, map(_refusal, entry.handles)), None)

    def _watch(self, handle: Handle) -> None:
        self._open.add(handle.task)
        handle.outcome.add_done_callback(self._ended)

    def _ended(self, future: asyncio.Future[Outcome]) -> None:
        self._room.set()
        if (error := future.exception()) is not None:
            self._lost = error
            return
        outcome = future.result()
        self._open.discard(outcome.task)
        self.states[outcome.state] += 1
        if outcome.state is not State.DONE and not self.first_error:
            self.first_error = f"task {outcome.task}: {outcome.error.partition(chr(10))[0]}"
        if self._on_ended is not None:
            self._on_ended(outcome)


def _refusal(handle: Handle) -> str | None:
    """Why the agent did not take it. Raises AgentUnreachable."""
    if not handle.outcome.done():
        return None
    outcome = handle.outcome.result()
    refused = outcome.attempts == 0 and outcome.error.startswith(_NOT_TAKEN)
    return outcome.error.removeprefix(_NOT_TAKEN) if refused else None
