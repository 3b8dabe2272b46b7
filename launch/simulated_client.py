"""A client on virtual time: hands tasks in, and goes over to another agent when its own is gone, as `client.py` does.

    client                         agent n1                          agent n2
      | AskNodes ------------------> |
      | <-- Nodes: who could hold    |
      | Submit(task, holders) -----> |   holders are chosen once
      | <----------------- Submitted X
      | AskNodes every PROBE_EVERY_S, nothing comes for GONE_S; or n1 is another life than it was
      | a new connection, AskNodes ----------------------------------> |
      | the same Submit, and CancelTasks that were not answered -----> |
      | <------------------------------------------- Submitted, Result |

It tries one agent after the other for as long as anything of it is open, and believes no agent that refuses what
another may have taken.

Invariant: what it hands in again is the same task at the same holders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..protocols.core import Effect, Message, NodeId, Outcome, Send, TaskId
from ..protocols.holders import Candidates
from ..protocols.requests import (
    UNREAD_MAX,
    AskNodes,
    Cancelled,
    CancelTasks,
    NodeLine,
    Nodes,
    NotFound,
    Read,
    Refused,
    Result,
    Submit,
    Submitted,
)
from ..protocols.swim_words import LIVING
from .scenario import Handed

PROBE_EVERY_S = 1.0
GONE_S = 2.0
"""`client.py` waits for 1 s when its connection has been cut, and for 5 s when its agent is silent only."""
DIAL_S = 1.0
"""So long an agent has to answer a new connection."""
READ_EVERY = UNREAD_MAX // 4


def alias_of(agent: NodeId) -> NodeId:
    """An agent's address on the simulated wire."""
    return f"sim://{agent}"


class Client:
    """Hands tasks in, each at its time, cancels some, and keeps what it is told.

    `agents` are all that it may know, `dial` makes a new connection to one of them, `life` tells which life of an agent
    it is connected to (None: to none).
    """

    def __init__(
        self,
        entry: NodeId,
        handed: Sequence[Handed],
        agents: Sequence[NodeId],
        dial: Callable[[NodeId], None],
        life: Callable[[NodeId], int | None],
    ) -> None:
        self.agent = entry
        self._agents = list(agents)
        self._dial = dial
        self._life_of = life
        submits: list[tuple[float, Message]] = [(one.at, Submit(one.task, b"")) for one in handed]
        cancels: list[tuple[float, Message]] = [
            (one.cancel_at, CancelTasks(number, (one.task.id,)))
            for number, one in enumerate(handed, 1)
            if one.cancel_at is not None
        ]
        self._planned = sorted([*submits, *cancels], key=lambda planned: -planned[0])  # the next one is last
        self._lines: tuple[NodeLine, ...] = ()
        self._holders = 1
        self._life: int | None = None
        self._results = 0  # heard by this connection
        self.submits: dict[TaskId, Submit] = {}
        """All that was handed in, in that order, with the holders that were chosen."""
        self.open: dict[TaskId, None] = {}
        """Of them, what has not ended as far as is known."""
        self._cancels: dict[int, CancelTasks] = {}  # not answered
        self._waiting: list[Submit] = []  # for a connection
        self._connected = False
        self._moving = False  # to another agent: the connection to it is not made yet
        self._quiet_since = 0.0  # it is asked whether it lives, and has not answered since
        self._ask_at: float | None = 0.0
        self.acked: dict[TaskId, float] = {}
        self.outcomes: dict[TaskId, Outcome] = {}
        self.refused: dict[TaskId, str] = {}
        self.connections = 1

    # -- what comes

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if self._moving:
            return ()  # it came with the word that made us go: the connection is given up
        self._quiet_since = now
        match message:
            case Nodes(_, lines, holders, me):
                self._lines, self._holders = lines, holders
                return () if self._connected else self._go_on(me, now)
            case Submitted(task):
                self.acked.setdefault(task, now)
            case Refused(task, error):
                return self._refused(task, error)
            case Result(outcome):
                self.outcomes[outcome.task] = outcome
                self.open.pop(outcome.task, None)
                self._results += 1
                if self._results % READ_EVERY == 0:
                    return [self._say(Read(self._results))]
            case Cancelled(request) | NotFound(request):
                self._cancels.pop(request, None)
        return ()

    def _go_on(self, me: NodeId | None, now: float) -> list[Effect]:
        """Somebody answers: the same tasks, in the same order, and the same questions."""
        self._connected = True
        self._life = self._life_of(self.agent)
        waiting, self._waiting = self._waiting, []
        again = [self.submits[task] for task in self.open]
        first = [self._hand_in(submit, me) for submit in waiting]
        return [self._say(message) for message in (*again, *first, *self._cancels.values())]

    def _refused(self, task: TaskId, error: str) -> list[Effect]:
        """Never taken, unless another agent may have taken it before."""
        if task in self.acked or self.connections > 1:
            self._go_over()
        else:
            self.refused[task] = error
            self.open.pop(task, None)
        return []

    def _hand_in(self, submit: Submit, me: NodeId | None) -> Submit:
        task = submit.task.id
        chosen = Candidates(me, self._lines, self._holders).holders(task)
        self.submits[task] = Submit(submit.task, submit.payload, holders=chosen)
        self.open[task] = None
        return self.submits[task]

    # -- time

    @property
    def deadline(self) -> float | None:
        planned = self._planned[-1][0] if self._planned else None
        if self._ask_at is None or (planned is not None and planned < self._ask_at):
            return planned
        return self._ask_at

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        if self._connected and self._life_of(self.agent) != self._life:  # started anew: it knows nothing of us
            self._quiet_since = now
            self._go_over(anew=True)
        while self._planned and self._planned[-1][0] <= now:
            effects += self._begin(self._planned.pop()[1])
        if self._ask_at is None and (self.open or self._waiting or self._cancels):
            self._ask_at, self._quiet_since = now + PROBE_EVERY_S, now
        if self._ask_at is not None and self._ask_at <= now:
            effects += self._probe(now)
        return effects

    def _begin(self, message: Message) -> list[Effect]:
        match message:
            case CancelTasks(request):
                self._cancels[request] = message
            case Submit() if not self._connected:
                self._waiting.append(message)
            case Submit():
                return [self._say(self._hand_in(message, self.agent))]
        return [self._say(message)] if self._connected else []

    def _probe(self, now: float) -> list[Effect]:
        """Is it there still?"""
        busy = self.open or self._waiting or self._cancels or self._planned
        if now - self._quiet_since >= (GONE_S if self._connected else DIAL_S):
            self._quiet_since = now
            self._go_over()
            return []
        self._ask_at = now + PROBE_EVERY_S if busy else None
        return [self._say(AskNodes(0))]

    def _go_over(self, anew: bool = False) -> None:
        """To the next agent, those first that are known to live; back to its own only if that is another life now."""
        living = [line.node for line in self._lines if line.state in LIVING]
        known = [agent for agent in self._agents if agent in living] or self._agents
        after = known.index(self.agent) + 1 if self.agent in known else 0
        candidates = [*known[after:], *known[:after]]
        self.agent = self.agent if anew else candidates[0]
        if not self._connected:
            self._lines = ()  # what was known is of no use
        self._connected = False
        self._moving = True
        self._results = 0
        self.connections += 1
        self._dial(self.agent)

    def dialled(self, now: float) -> None:
        """A new connection is made."""
        self._moving = False
        self._ask_at = self._quiet_since = now

    def _say(self, message: Message) -> Send:
        return Send(alias_of(self.agent), message)
