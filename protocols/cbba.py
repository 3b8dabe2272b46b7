"""The consensus-based bundle algorithm: agents build bundles of tasks greedily, and agree by talking who has which.

Source: H.-L. Choi, L. Brunet, J. How, Consensus-Based Decentralized Auctions for Robust Task Allocation, IEEE T-RO 25,
2009. No auctioneer, any connected graph, any loss. With `capacity` 1 it is the consensus-based auction algorithm (CBAA).

    agent i                                                         its neighbours
      build: add to the bundle the task that is worth most here,
             as long as the bid beats the winning bid y it knows
      | Winning(y, winners z, stamps, lines of agreement) ------------> all
      | <-------------------------------------------------- theirs
      resolve: the conflict table (cbba_conflicts.py), then stamps
      release: outbid for a task? It and all after it in the bundle go: they were bid for under other circumstances
      build again, tell again, until all have the same and know it (agreement.py)

What holds at the end: everybody has the same winners; a task is in the bundle of its winner, and in no other. With scores
of diminishing marginal gain (scores.py) it is what the sequential greedy algorithm finds, at least half of the optimum,
after at most min(tasks, agents·capacity) · diameter rounds if nothing is lost; seeing that it is the end takes some
three diameters more.

Four mistakes that others had to mend, and where they are avoided: what is released after an outbid task is told as
nobody's (`_release`); stamps are merged after the conflicts are resolved (`hear`); rows with nobody as winner are in
the table; who has seen the end answers those who have not (`Winning.last`, neighbours.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
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
        self._beliefs = [FREE] * tasks
        self._own: dict[int, float] = {}  # what it bid for what is in its bundle
        self._stamps = [0] * (tasks if asynchronous else len(agents))
        self._clock = 0  # Lamport's
        self._agreement = Agreement(self._me, len(agents))
        self._fresh = True  # something has changed since it built and spoke last

    # -- hearing and speaking

    def hear(self, message: Message, sender: NodeId) -> None:
        """Resolve the conflicts between what they and we believe. Raises PeerError on nonsense."""
        k = self._places.get(sender)
        if not isinstance(message, Winning) or k is None:
            raise PeerError(f"{sender} sent {type(message).__name__}, or has no part in this consensus")
        if (len(message.bids), len(message.winners)) != (len(self._beliefs), len(self._beliefs)) or (
            len(message.stamps) != len(self._stamps)
            or len(message.lines) != self._agreement.members
            or max(message.winners, default=NOBODY) >= len(self._places)
        ):
            raise PeerError(f"{sender} speaks of tasks or agents that are not in this session")
        self._fresh |= self._agreement.merge(message.lines)
        if self._asynchronous:
            self._join(message)
        else:
            self._resolve(message, k)

    def speak(self, turn: int, *, whole: bool = True) -> Winning:
        """Release what was lost, build the bundle anew, and tell all that is believed."""
        if self._fresh:
            self._release()
            self._build()
        if not self._asynchronous:
            self._stamps[self._me] += 1
        bids, winners = tuple(belief.bid for belief in self._beliefs), tuple(belief.winner for belief in self._beliefs)
        self._agreement.note(checksum(bids, winners, self._stamps if self._asynchronous else ()))
        self._fresh = False
        return Winning(self.session, turn, self.done, bids, winners, tuple(self._stamps), self._agreement.lines)

    @property
    def news(self) -> bool:
        """It has changed, or knows more of others, since it spoke last."""
        return self._fresh

    def gone(self, node: NodeId) -> None:
        """It takes no part any more: what it had is free, and nobody waits for its line."""
        place = self._places.get(node)
        if place is None:
            return
        self._agreement.gone(place)
        for task, belief in enumerate(self._beliefs):
            if belief.winner == place:
                self._believe(task, FREE)
        self._fresh = True

    # -- what it knows

    @property
    def done(self) -> bool:
        """Everybody has the same winners, and this agent knows it."""
        return self._agreement.agreed

    @property
    def winners(self) -> list[int]:
        """Per task the place of its winner, -1 for nobody, as far as is known."""
        return [belief.winner for belief in self._beliefs]

    # -- resolving

    def _resolve(self, message: Winning, k: int) -> None:
        for task in self._contradictions(message):
            mine, theirs = self._beliefs[task], Belief(message.bids[task], message.winners[task])
            match in_rounds(self._me, mine, self._stamps, k, theirs, message.stamps):
                case Action.UPDATE:
                    self._believe(task, theirs)
                case Action.RESET:
                    self._believe(task, FREE)
        mine_s = self._stamps[self._me]
        self._stamps = list(map(max, self._stamps, message.stamps))
        self._stamps[self._me] = mine_s

    def _join(self, message: Winning) -> None:
        self._clock = max(self._clock, *message.stamps, 0)
        for task, stamp in enumerate(message.stamps):
            mine, theirs = self._beliefs[task], Belief(message.bids[task], message.winners[task])
            if at_once(mine, self._stamps[task], theirs, stamp) is Action.UPDATE:
                self._believe(task, theirs)
                self._stamps[task] = stamp

    def _contradictions(self, message: Winning) -> list[int]:
        return [
            task
            for task, (mine, bid, winner) in enumerate(zip(self._beliefs, message.bids, message.winners, strict=True))
            if mine.winner != winner or mine.bid != bid
        ]

    def _believe(self, task: int, belief: Belief) -> None:
        self._beliefs[task] = belief
        self._fresh = True

    # -- releasing and building

    def _stamp(self, task: int, belief: Belief) -> None:
        """Believe it of one's own accord."""
        self._beliefs[task] = belief
        if self._asynchronous:
            self._clock += 1
            self._stamps[task] = self._clock

    def _release(self) -> None:
        """From the first task that another has, all go; what of them was still ours is nobody's."""
        for place, task in enumerate(self.bundle):
            claim, belief = Belief(self._own[task], self._me), self._beliefs[task]
            if belief.winner == self._me:
                continue
            if self._asynchronous and claim.beats(belief):
                self._stamp(task, claim)  # what contradicts us is worse: we say so
                continue
            for later in self.bundle[place:]:
                del self._own[later]
                self.path.remove(later)
                if self._beliefs[later].winner == self._me:
                    self._stamp(later, FREE)
            del self.bundle[place:]
            return

    def _build(self) -> None:
        if len(self.bundle) == self._capacity:
            return
        bids = np.array([belief.bid for belief in self._beliefs])
        winners = np.array([belief.winner for belief in self._beliefs])
        while len(self.bundle) < self._capacity:
            gains = self._scores.marginals(self.path)
            offers = np.minimum(gains, min(self._own.values())) if self._scores.warped and self._own else gains
            winnable = (offers > 0.0) & ((offers > bids) | ((offers == bids) & (winners > self._me)))
            winnable[self.bundle] = False
            if not winnable.any():
                return
            task = int(np.where(winnable, gains, -np.inf).argmax())
            self.path.insert(self._scores.place(self.path, task), task)
            self.bundle.append(task)
            self._own[task] = bids[task] = float(offers[task])
            winners[task] = self._me
            self._stamp(task, Belief(self._own[task], self._me))
