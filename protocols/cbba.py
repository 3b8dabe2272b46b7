"""The consensus-based bundle algorithm: agents build bundles of tasks greedily, and agree by talking who has which.

Source: H.-L. Choi, L. Brunet, J. How, Consensus-Based Decentralized Auctions for Robust Task Allocation, IEEE T-RO 25,
2009. No auctioneer, any connected graph, any loss. With `capacity` 1 it is the consensus-based auction algorithm
(CBAA).

    agent i                                                         its neighbours
      build: again and again the task that is worth most here goes into
             the bundle, of those where the bid beats the winning bid y
      | Winning(y, winners z, stamps, lines of agreement) ------------> all
      | <-------------------------------------------------- theirs
      resolve: the conflict table (cbba_conflicts.py), then stamps
      outbid for a task? All after it in the bundle were bid for under other circumstances: build again, tell again,
      until all have the same and know it (agreement.py)

What holds at the end: everybody has the same winners; a task is in the bundle of its winner, and in no other. With
scores of diminishing marginal gain (scores.py) it is what the sequential greedy algorithm finds, at least half of the
optimum, after at most min(tasks, agents·capacity) · diameter rounds if nothing is lost; seeing that it is the end takes
some three diameters more.

The paper keeps the head of a bundle and adds behind it. A task that comes free again may then be bid for in a worse
place than the greedy algorithm would, and equality is lost. So here the whole bundle is built anew each time; what is
in it no more is released by that. Mistakes that others had to mend: what is released is told as nobody's; stamps are
merged after the conflicts are resolved (`_resolve`); the rows with nobody as winner are in the table; whoever has seen
the end answers those who have not (`Winning.last`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from .agreement import Agreement, Lines, checksum
from .cbba_conflicts import FREE, NOBODY, Action, Belief, at_once, in_rounds
from .core import AuctionId, Count, Message, NodeId, PeerError
from .scores import Scores

TASKS_MAX = 4096


class Winning(Message, frozen=True, array_like=True):
    """What its sender believes: per task the winning bid and the winner's place, -1 for nobody.

    `stamps`: in rounds per agent, how new what the sender knows of it is; asynchronously per task, when it was bid for
    or released. `lines`: who is known to have the same. `last`: the sender has seen the end.
    """

    session: AuctionId
    round: Count
    last: bool
    bids: Annotated[tuple[Annotated[float, Meta(ge=0.0, le=1e300)], ...], Meta(max_length=TASKS_MAX)]
    winners: Annotated[tuple[Annotated[int, Meta(ge=-1, lt=TASKS_MAX)], ...], Meta(max_length=TASKS_MAX)]
    stamps: Annotated[tuple[Count, ...], Meta(max_length=TASKS_MAX)]
    lines: Lines


MESSAGES: tuple[type[Message], ...] = (Winning,)


class Cbba:
    """One agent.

    `agents` are all who take part, in the order of their ids; tasks go by their places, 0 to `tasks`; `scores` are this
    agent's own, `capacity` is the most it takes. `asynchronous`: the other conflict table, for words that may be late,
    doubled or out of order. Raises ValueError where this means nothing.
    """

    def __init__(
        self,
        node: NodeId,
        session: AuctionId,
        agents: Sequence[NodeId],
        tasks: int,
        scores: Scores,
        capacity: int,
        *,
        asynchronous: bool = False,
    ) -> None:
        if node not in agents or not 0 <= tasks <= TASKS_MAX or capacity < 0:
            raise ValueError(f"an agent among those who take part, up to {TASKS_MAX} tasks, and room for some")
        self.session = session
        self.bundle: list[int] = []
        """Its tasks, in the order in which it bid for them."""
        self.path: list[int] = []
        """Its tasks, in the order in which it will do them."""
        self._me = agents.index(node)
        self._places = {agent: place for place, agent in enumerate(agents)}
        self._scores = scores
        self._capacity = min(capacity, tasks)
        self._asynchronous = asynchronous
        self._bids = [0.0] * tasks
        self._winners = [NOBODY] * tasks
        self._stamps = [0] * (tasks if asynchronous else len(agents))
        self._clock = 0  # Lamport's
        self._agreement = Agreement(self._me, len(agents))
        self._gone: set[int] = set()
        self._contested = True  # somebody believes something else than when it built its bundle
        self._fresh = True  # it knows something that it has not told

    # -- hearing and speaking

    def hear(self, message: Message, sender: NodeId) -> None:
        """Resolve the conflicts between what they and we believe. Raises PeerError on nonsense."""
        k = self._places.get(sender)
        if not isinstance(message, Winning) or message.session != self.session or k is None:
            raise PeerError(f"{sender} sent {type(message).__name__}, or has no part in the consensus {self.session}")
        agents, tasks = len(self._places), len(self._bids)
        lengths = (len(message.bids), len(message.winners), len(message.stamps), len(message.lines))
        if lengths != (tasks, tasks, len(self._stamps), agents) or max(message.winners, default=NOBODY) >= agents:
            raise PeerError(f"{sender} speaks of tasks or agents that are not in this session")
        if any((bid == 0.0) != (winner == NOBODY) for bid, winner in zip(message.bids, message.winners, strict=True)):
            raise PeerError(f"{sender} names a bid without a winner, or a winner without a bid")
        self._fresh |= self._agreement.merge(message.lines)
        if self._asynchronous:
            self._join(message)
        else:
            self._resolve(message, k)

    def speak(self, turn: int, *, whole: bool = False) -> Winning:
        """Build the bundle anew, and tell all that is believed, `whole` or not."""
        if not self._asynchronous:
            self._stamps[self._me] += 1
        if self._fresh:
            if self._contested:
                self._build()
            told = self._stamps if self._asynchronous else ()
            self._agreement.note(checksum(self._bids, self._winners, told))
            self._fresh = False
        bids, winners, stamps = tuple(self._bids), tuple(self._winners), tuple(self._stamps)
        return Winning(self.session, turn, self.done, bids, winners, stamps, self._agreement.lines)

    @property
    def news(self) -> bool:
        """It has changed, or knows more of others, since it spoke last."""
        return self._fresh

    def gone(self, node: NodeId) -> None:
        """It takes no part any more: what it had is free, and nobody waits for its line."""
        place = self._places.get(node)
        if place is None:
            return
        self._gone.add(place)
        self._agreement.gone(place)
        for task, winner in enumerate(self._winners):
            if winner == place:
                self._stamp(task, FREE)
        self._contested = self._fresh = True

    # -- what it knows

    @property
    def done(self) -> bool:
        """Everybody has the same winners, and this agent knows it."""
        return self._agreement.agreed and not self._contested

    @property
    def winners(self) -> list[int]:
        """Per task the place of its winner, -1 for nobody, as far as is known."""
        return list(self._winners)

    # -- resolving

    def _resolve(self, message: Winning, k: int) -> None:
        for task in self._contradictions(message):
            theirs = Belief(message.bids[task], message.winners[task])
            match in_rounds(self._me, self._belief(task), self._stamps, k, theirs, message.stamps):
                case Action.UPDATE:
                    self._believe(task, theirs if theirs.winner not in self._gone else FREE)
                case Action.RESET:
                    self._believe(task, FREE)
        own = self._stamps[self._me]
        self._stamps = list(map(max, self._stamps, message.stamps))
        self._stamps[self._me] = own

    def _join(self, message: Winning) -> None:
        for task in self._not_older(message):
            theirs, stamp = Belief(message.bids[task], message.winners[task]), message.stamps[task]
            if at_once(self._belief(task), self._stamps[task], theirs, stamp) is Action.UPDATE:
                self._believe(task, theirs)
                self._stamps[task] = stamp
                self._clock = max(self._clock, stamp)
                if theirs.winner in self._gone:
                    self._stamp(task, FREE)

    def _contradictions(self, message: Winning) -> list[int]:
        """The tasks of which they believe something else."""
        believed = zip(self._bids, message.bids, self._winners, message.winners, strict=True)
        return [task for task, (bid, told, winner, named) in enumerate(believed) if winner != named or bid != told]

    def _not_older(self, message: Winning) -> list[int]:
        """The tasks of which they believe something else, and by no older stamp."""
        pairs = enumerate(zip(self._stamps, message.stamps, strict=True))
        new = {task for task, (mine, theirs) in pairs if theirs > mine}
        return sorted(
            new | {task for task in self._contradictions(message) if message.stamps[task] == self._stamps[task]}
        )

    def _belief(self, task: int) -> Belief:
        return Belief(self._bids[task], self._winners[task])

    def _believe(self, task: int, belief: Belief) -> None:
        self._bids[task], self._winners[task] = belief
        self._contested = self._fresh = True

    def _stamp(self, task: int, belief: Belief) -> None:
        """Believe it of one's own accord."""
        self._believe(task, belief)
        if self._asynchronous:
            self._clock += 1
            self._stamps[task] = self._clock

    # -- building

    def _build(self) -> None:
        """The greedy bundle of all that can be won: what is another's only with a better bid."""
        bids, winners = np.array(self._bids), np.array(self._winners)
        mine = winners == self._me
        bids[mine], winners[mine] = FREE
        bundle: dict[int, float] = {}
        path: list[int] = []
        least = np.inf
        while len(bundle) < self._capacity:
            gains = self._scores.marginals(path)
            offers = np.minimum(gains, least) if self._scores.warped else gains
            winnable = (offers > 0.0) & ((offers > bids) | ((offers == bids) & (winners > self._me)))
            winnable[list(bundle)] = False
            if not winnable.any():
                break
            task = int(np.where(winnable, gains, -np.inf).argmax())
            path.insert(self._scores.place(path, task), task)
            least = bundle[task] = float(offers[task])
        for task in map(int, np.flatnonzero(mine)):
            if task not in bundle:
                self._stamp(task, FREE)
        for task, bid in bundle.items():
            if self._belief(task) != (claim := Belief(bid, self._me)):
                self._stamp(task, claim)
        self.bundle, self.path = list(bundle), path
        self._contested = False
