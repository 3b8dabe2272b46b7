"""What must hold whatever goes wrong, looked at after every step of a simulated fleet.

What must hold when all is over stands in `liveness.py`. Each invariant here is told what happens, as it happens, and
keeps just enough of it to know whether the last step has broken it; none looks through the whole fleet at every step.
The names are those of the reliability page, of both files:

| name | what holds | seen at |
|---|---|---|
| S1 | one outcome per task, and it is that of an attempt which was done where it was awarded | `task.commit` |
| S2 | no client is told a second outcome of a task | `Result` |
| S3 | per (task, epoch) one start, there where it was awarded; no more executions than epochs | `Run` |
| S5 | an epoch that was superseded commits nothing | `task.commit` |
| S6 | what runs on a node takes no more than it has: slots, amounts | `Run` |
| S7 | done is stable: no award after the outcome | `auction.award` |
| S9 | one winner per epoch, and epochs rise | `auction.award` |
| S11 | nothing starts after it was given back, cancelled or has ended | `Run` |
| S13 | what runs on a node is what its participant says runs there | every turn |
| A1 | an award goes to a node that has bid for that task | `auction.award` |
| G1 | every queue is bounded, and empty when all is over | twice a second; the end |
| G2 | the record of an award replays to the same winner, cost, runner-up and margin | `auction.award` |
| T1 | a link delivers a message once, in order, to the life that it was meant for | every delivery |
| M3 | incarnations only rise: of a node, and in every view of it | a birth; `peer.state` |
| P1 | no agent sends another what it has to refuse as nonsense | twice a second |
| L1 | when faults are over, what was handed to an agent that lived on ends in time | the end |
| L2 | its client learns how | the end |
| L3 | without faults, executions = tasks, and all are done | the end |
| L4 | work that counts no more is stopped in time | twice a second |
| M1 | who died is dead at every living node in time | the end |
| M2 | nobody who lives stays dead | the end |
| M4 | the views of the living agree | the end |

S4, S8, S10 and S12 speak of promises, majorities and what holders forget: of the register of `SAFETY`, which the
agents do not keep yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..agents.resources import Resources
from ..protocols.award_rules import RULES, Offer
from ..protocols.contract_events import (
    AuctionAwarded,
    BidSubmitted,
    TaskCommitted,
    TaskEnded,
    TaskStarted,
)
from ..protocols.core import Event, Message, NodeId, Run, State, TaskId
from ..protocols.requests import Result
from ..protocols.swim_words import PeerState
from ..transport.links import Cause
from ..transport.simulated import Witness

if TYPE_CHECKING:
    from ..agents.agent import Agent


class Violation(Exception):
    """An invariant does not hold: its name, and one sentence."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.sentence = sentence


class _Story:
    """What has become of one task so far."""

    __slots__ = ("awards", "bidders", "ended", "outcome", "started", "told")

    def __init__(self) -> None:
        self.bidders: set[NodeId] = set()
        self.awards: dict[int, NodeId] = {}  # epoch -> winner
        self.started: dict[int, NodeId] = {}
        self.ended: dict[int, bool] = {}  # epoch -> was it done?
        self.outcome: State | None = None
        self.told = False


class Invariants(Witness):
    """All of them, of one run. `resources` is what each node has, `agents` the present life of each."""

    def __init__(self, resources: Mapping[NodeId, Resources], agents: Mapping[NodeId, Agent]) -> None:
        self._resources = resources
        self._agents = agents
        self._stories: dict[TaskId, _Story] = {}
        self._running: dict[NodeId, dict[tuple[TaskId, int], Run]] = {node: {} for node in resources}
        self._changed: set[NodeId] = set()  # where an attempt has begun or ended, or is said to have
        self._lives: dict[NodeId, int] = {}
        self._heard: dict[tuple[NodeId, NodeId, int | None], tuple[int, int]] = {}
        self._seen: dict[tuple[NodeId, NodeId], int] = {}
        self.executions = 0

    def story(self, task: TaskId) -> _Story:
        found = self._stories.get(task)
        if found is None:
            found = self._stories[task] = _Story()
        return found

    def outcome(self, task: TaskId) -> State | None:
        """How a task has ended; None: it has not."""
        story = self._stories.get(task)
        return story.outcome if story is not None else None

    def outcomes(self) -> dict[TaskId, State]:
        """Of all that has ended."""
        return {task: story.outcome for task, story in self._stories.items() if story.outcome is not None}

    def executions_of(self, tasks: Iterable[TaskId]) -> int:
        """How often these have been started, together."""
        return sum(len(self._stories[task].started) for task in tasks)

    def stale(self) -> Iterable[tuple[NodeId, TaskId, int]]:
        """What runs and counts no more: where, and which attempt."""
        for node, running in self._running.items():
            for task, epoch in running:
                story = self._stories[task]
                if story.outcome is not None or epoch != max(story.awards):
                    yield node, task, epoch

    # --- lives ---------------------------------------------------------------------------------------------------

    def born(self, now: float, node: NodeId, incarnation: int) -> None:
        former = self._lives.get(node, 0)
        if incarnation <= former:
            raise Violation("M3", f"{node} is born with incarnation {incarnation} after {former}")
        self._lives[node] = incarnation
        for line in [line for line in self._heard if line[0] == node]:
            del self._heard[line]
        for pair in [pair for pair in self._seen if pair[0] == node]:
            del self._seen[pair]

    def died(self, now: float, node: NodeId) -> None:
        self._running[node] = {}

    def heard(self, now: float, node: NodeId, message: Message, cause: Cause, life: int | None) -> None:
        if cause.seq and not cause.published:  # datagrams have no number
            line, place = (node, cause.sender, life), (cause.seq, cause.index)
            last = self._heard.get(line, (0, -1))
            if place <= last:
                raise Violation("T1", f"{node} is told {type(message).__name__} {cause} after {last}")
            self._heard[line] = place
        if type(message) is Result:
            story = self.story(message.outcome.task)
            if story.told:
                raise Violation("S2", f"{node} is told a second outcome of {message.outcome.task}")
            story.told = True

    # --- decisions -----------------------------------------------------------------------------------------------

    def noted(self, now: float, node: NodeId, event: Event) -> None:
        look = _LOOKS.get(type(event))
        if look is not None:
            look(self, node, event)

    def _bid(self, node: NodeId, event: BidSubmitted) -> None:
        self.story(event.task).bidders.add(node)

    def _awarded(self, node: NodeId, event: AuctionAwarded) -> None:
        task, epoch, winner = event.task, event.epoch, event.winner
        story = self.story(task)
        if story.outcome is not None:
            raise Violation("S7", f"{node} awards {task}, which is {story.outcome}")
        if epoch <= max(story.awards, default=0):
            raise Violation("S9", f"{node} awards {task} in epoch {epoch} again")
        if winner not in story.bidders:
            raise Violation("A1", f"{node} awards {task} to {winner}, which has not bid for it")
        story.awards[epoch] = winner
        if not replayed(event):
            raise Violation("G2", f"the record of {task}, epoch {epoch}, does not lead to {winner}")

    def _started(self, node: NodeId, event: TaskStarted) -> None:
        task, epoch = event.task, event.epoch
        story = self.story(task)
        self._changed.add(node)
        awarded = story.awards.get(epoch)
        if awarded != node:
            raise Violation("S3", f"{node} starts {task}, epoch {epoch}, which {awarded} was awarded")
        if epoch in story.ended:
            raise Violation("S11", f"{node} starts {task}, epoch {epoch}, after it has ended")

    def _ended(self, node: NodeId, event: TaskEnded) -> None:
        self.story(event.task).ended[event.epoch] = event.reason is None
        self._changed.add(node)

    def _committed(self, node: NodeId, event: TaskCommitted) -> None:
        task, epoch = event.task, event.epoch
        story = self.story(task)
        if story.outcome is not None:
            raise Violation("S1", f"{node} commits {task} as {event.state}, and it is {story.outcome}")
        story.outcome = event.state
        if event.state is not State.DONE:
            return
        last = max(story.awards, default=0)
        if epoch != last:
            raise Violation("S5", f"{node} commits {task} in epoch {epoch}, and the last is {last}")
        there = story.awards[epoch] == event.peer and story.ended.get(epoch, False)
        if not there:
            raise Violation(
                "S1", f"{node} commits {task}, epoch {epoch}, as done by {event.peer}, which has not done it"
            )

    def _peer(self, node: NodeId, event: PeerState) -> None:
        views = self._agents[node].membership.members
        seen = next((contact.incarnation for contact, _ in views if contact.node == event.peer), 0)
        former = self._seen.get((node, event.peer), 0)
        if seen < former:
            raise Violation("M3", f"{node} sees {event.peer} fall from incarnation {former} to {seen}")
        self._seen[node, event.peer] = seen

    # --- work ----------------------------------------------------------------------------------------------------

    def ran(self, now: float, node: NodeId, run: Run) -> None:
        task, epoch = run.task, run.epoch
        story = self.story(task.id)
        if epoch in story.started:
            raise Violation("S3", f"{task.id}, epoch {epoch}, runs a second time, on {node}")
        if epoch in story.ended:
            raise Violation("S11", f"{task.id}, epoch {epoch}, runs on {node} after its end")
        story.started[epoch] = node
        self.executions += 1
        if len(story.started) > len(story.awards):
            raise Violation("S3", f"{task.id} runs more often than it was awarded")
        running, has = self._running[node], self._resources[node]
        running[task.id, epoch] = run
        self._changed.add(node)
        if len(running) > has.slots:
            raise Violation("S6", f"{len(running)} attempts run on {node}, of {has.slots} slots")
        for name, _ in task.conditions.amounts:
            taken = sum(dict(one.task.conditions.amounts).get(name, 0.0) for one in running.values())
            if taken > has.amounts.get(name, 0.0) + 1e-9:
                raise Violation("S6", f"{taken:g} {name} are taken on {node}, which has {has.amounts.get(name, 0.0):g}")

    def ended(self, now: float, node: NodeId, task: TaskId, epoch: int) -> None:
        self._running[node].pop((task, epoch), None)
        self._changed.add(node)

    def turned(self, now: float, node: NodeId) -> None:
        if node not in self._changed:
            return
        self._changed.discard(node)
        running = self._running[node]
        said = self._agents[node].participant.load()[0]
        if len(running) != said:
            raise Violation("S13", f"{len(running)} attempts run on {node}, which speaks of {said}")


_LOOKS: dict[type[Event], Callable[[Invariants, NodeId, Any], None]] = {
    BidSubmitted: Invariants._bid,
    AuctionAwarded: Invariants._awarded,
    TaskStarted: Invariants._started,
    TaskEnded: Invariants._ended,
    TaskCommitted: Invariants._committed,
    PeerState: Invariants._peer,
}


def replayed(event: AuctionAwarded) -> bool:
    """Does the record of an award lead to what was awarded? Nothing but the record is looked at."""
    offers = [
        Offer(
            bid.node,
            bid.terms["queue"],
            sum(s for name, s in bid.terms.items() if name != "queue"),
            bid.free,
            bid.speed,
        )
        for bid in event.bids
    ]
    if not offers:
        return False
    chosen = RULES[event.rule].choose(offers, event.seed)
    second = min([offer for offer in offers if offer is not chosen], key=lambda o: (o.cost, o.node), default=None)
    costs = [offer.cost == bid.cost for offer, bid in zip(offers, event.bids, strict=True)]
    declined = {decline.node for decline in event.declines}
    return (
        (chosen.node, chosen.cost) == (event.winner, event.cost)
        and (second.node if second else None, second.cost - chosen.cost if second else None)
        == (event.runner_up, event.margin)
        and all(costs)
        and declined.isdisjoint(offer.node for offer in offers)
    )
