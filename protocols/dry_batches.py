"""A dry division: how would these tasks be divided now, and how well? A session like any other, and nobody gets any.

    client                   desk                          members
      | AskDivision(tasks) --> | OpenBatch(dry) ------------> all who live
      |                        | <----- the words of rounds, or of gossip (`sessions.py`) ----->
      |                        | Rejection("plan") ---------> all: what they said binds nobody
      | <-- DivisionTold ----- |

Members price the tasks and divide them as they would in earnest, so value, bound and certificate are those that they
would come to if the tasks were handed in now; only their logs are told nothing.

Invariant: each question has one answer, after WAIT_S at the latest; at most DIVISIONS_MAX are open.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from .batch_words import BATCH_TASKS_MAX, CloseBatch, Divided, Mode
from .batches import MEMBERS_MAX, WAIT_S, Policy, openings
from .core import Effect, Message, NodeId, PeerDown, PeerUp, ProtocolError, Publish, Send, Task
from .performatives import TASKS_PER_CALL_MAX, Reason, Rejection
from .requests import AskDivision, DivisionTold, NotFound

DIVISIONS_MAX = 4


class _Question:
    """Of a client, about tasks; in session `session` since it has named them all; `until` then it is answered."""

    def __init__(self, client: NodeId, request: int, until: float) -> None:
        self.client = client
        self.request = request
        self.tasks: list[Task] = []
        self.session = ""
        self.members: tuple[NodeId, ...] = ()
        self.until = until


class DryBatches:
    """Opens sessions, and awards nothing by them."""

    def __init__(self, node: NodeId, incarnation: int, seed: int, policy: Policy) -> None:
        self._prefix = f"{node}.{incarnation:x}.dry."
        self._seed = seed
        self._policy = policy
        self._peers: list[NodeId] = []
        self._questions: dict[tuple[NodeId, int], _Question] = {}
        self._opened = 0

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case AskDivision():
                return self._ask(message, sender, now)
            case Divided(session):
                asked = [one for one in self._questions.values() if one.session == session]
                return [effect for one in asked for effect in self._end(one, _told(one, message, self._policy.mode))]
            case PeerUp(node):
                if node not in self._peers:
                    insort(self._peers, node)
                return ()
            case PeerDown(node):
                if node in self._peers:
                    self._peers.remove(node)
                return ()
        raise ProtocolError(f"dry batches are not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return min([one.until for one in self._questions.values()], default=None)

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        for one in [one for one in self._questions.values() if one.until <= now]:
            effects += [Send(node, CloseBatch(one.session)) for node in one.members]
            sentence = f"the nodes have not agreed on a division within {WAIT_S:g} s; ask again"
            effects += self._end(one, NotFound(one.request, sentence))
        return effects

    def _ask(self, asked: AskDivision, client: NodeId, now: float) -> list[Effect]:
        one = self._questions.get((client, asked.request))
        if one is None:
            if len(self._questions) >= DIVISIONS_MAX:
                sentence = f"this agent plans {DIVISIONS_MAX} divisions already; ask again"
                return [Send(client, NotFound(asked.request, sentence))]
            one = self._questions[client, asked.request] = _Question(client, asked.request, now + WAIT_S)
        one.tasks += asked.tasks
        if len(one.tasks) > BATCH_TASKS_MAX or one.session:
            return self._end(one, NotFound(asked.request, f"a batch has {BATCH_TASKS_MAX:,} tasks at most"))
        if len(self._peers) > MEMBERS_MAX:
            sentence = f"a batch is divided by {MEMBERS_MAX} nodes at most, and here are {len(self._peers)}"
            return self._end(one, NotFound(asked.request, sentence))
        return [] if asked.more else self._open(one)

    def _open(self, one: _Question) -> list[Effect]:
        self._opened += 1
        one.session, one.members = f"{self._prefix}{self._opened}", tuple(self._peers)
        words = openings(one.session, one.members, self._policy, self._seed, one.tasks, dry=True)
        return [Send(node, word) for word in words for node in one.members]

    def _end(self, one: _Question, answer: Message) -> list[Effect]:
        """Answer; what the members have said binds them no longer."""
        del self._questions[one.client, one.request]
        effects: list[Effect] = [Send(one.client, answer)]
        if one.session:
            ids = [task.id for task in one.tasks]
            pieces = [tuple(ids[at : at + TASKS_PER_CALL_MAX]) for at in range(0, len(ids), TASKS_PER_CALL_MAX)]
            effects += [Publish(Rejection(one.session, piece, Reason.PLAN)) for piece in pieces]
        return effects


def _told(one: _Question, divided: Divided, mode: Mode) -> DivisionTold:
    columns = dict(divided.columns)
    nodes = tuple(columns)
    owners: list[int | None] = [None] * len(one.tasks)
    seconds = [0.0] * len(one.tasks)
    for share in divided.shares:
        for task in share.tasks:
            cost = columns[share.node][task]
            if cost is not None:
                owners[task], seconds[task] = nodes.index(share.node), cost
    value, bound = divided.value, max(divided.bound, 0.0)
    return DivisionTold(one.request, mode, divided.rounds, nodes, tuple(owners), tuple(seconds), value, bound)
