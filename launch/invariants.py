"""What must hold whatever goes wrong, looked at after every step of a simulated fleet.

What must hold when all is over stands in `liveness.py`. Each invariant here is told what happens, as it happens, and
keeps just enough of it to know whether the last step has broken it; none looks through the whole fleet at every step.
The names are those of the reliability page, of both files:

| name | what holds | seen at |
|---|---|---|
| S1 | what an agent calls the end of a task is what its holders have chosen (see `promises.py`) | `task.commit` |
| S2 | no client is told a second outcome of a task, nor one that was not chosen | `Result` |
| S3 | one start per (task, epoch, node), answered on disk; no more executions than epochs, or than allowed | `Run` |
| S6 | what runs on a node takes no more than it has: slots, amounts | `Run` |
| S11 | nothing starts after it was given back, declined or released | `Run` |
| S13 | nothing runs on a node beside what its participant says runs there | every turn |
| S14 | a task is called cancelled if a client has cancelled it, and late if it has a deadline | `Result` |
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
| L5 | when all has ended, every living holder knows it | the end |
| M1 | who died is dead at every living node in time | the end |
| M2 | nobody who lives stays dead | the end |
| M4 | the views of the living agree | the end |

S1, S4, S5, S7, S8, S9, S10 and S12 speak of promises, majorities and what holders forget: `promises.py`. K1 to K3 speak
of gangs, of which each member that runs is an attempt for S6 and S13: `together.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..agents.resources import Resources
from ..protocols.award_rules import RULES, Offer
from ..protocols.batch_words import PROTOCOL, BatchColumn, BatchOpened
from ..protocols.commitment_words import AwardEntry, Pledge
from ..protocols.contract_events import (
    AuctionAwarded,
    BidSubmitted,
    TaskCommitted,
    TaskEnded,
    TaskStarted,
)
from ..protocols.core import Event, Message, NodeId, Outcome, Record, Run, State, TaskId
from ..protocols.epochs import Epoch
from ..protocols.gang_words import MemberEnded, MemberStarted, ReserveHeld
from ..protocols.gangs import GANG
from ..protocols.performatives import Reason
from ..protocols.requests import CancelTasks, Result, Submit
from ..protocols.swim_words import PeerState
from ..transport.faults import Pause
from ..transport.links import Cause
from ..transport.simulated import Witness
from .promises import Promises
from .together import Together
from .violation import Violation

if TYPE_CHECKING:
    from ..agents.agent import Agent


class _Story:
    """What has become of one task so far."""

    __slots__ = ("bidders", "started")

    def __init__(self) -> None:
        self.bidders: set[NodeId] = set()
        self.started: set[tuple[Epoch, NodeId]] = set()


class Invariants(Witness):
    """All of them, of one run. `resources` is what each node has, `agents` the present life of each."""

    def __init__(
        self, resources: Mapping[NodeId, Resources], agents: Mapping[NodeId, Agent], pauses: Sequence[Pause] = ()
    ) -> None:
        self.together = Together(pauses)
        self._resources = resources
        self._agents = agents
        self.promises = Promises()
        self._stories: defaultdict[TaskId, _Story] = defaultdict(_Story)
        self._running: dict[NodeId, dict[tuple[TaskId, int], Run]] = {node: {} for node in resources}
        self._changed: set[NodeId] = set()  # where an attempt has begun or ended, or is said to have
        self._lives: dict[NodeId, int] = {}
        self._heard: dict[tuple[NodeId, NodeId, int | None], tuple[int, int]] = {}
        self._seen: dict[tuple[NodeId, NodeId], int] = {}
        self._told: dict[TaskId, Outcome] = {}
        self._batches: dict[str, tuple[TaskId, ...]] = {}  # the tasks of each session
        self._columns: dict[tuple[str, NodeId], tuple[float | None, ...]] = {}
        self._submitted: Counter[tuple[NodeId, NodeId, TaskId]] = Counter()  # by whom, to whom; not answered yet
        self._due: set[TaskId] = set()  # what has a deadline
        self._given_up: set[TaskId] = set()  # what a client has cancelled
        self.executions = 0

    def story(self, task: TaskId) -> _Story:
        return self._stories[task]

    def outcome(self, task: TaskId) -> State | None:
        """How a task has ended; None: it has not."""
        outcome = self.promises.chosen.get(task)
        return outcome.state if outcome is not None else None

    def is_late(self, task: TaskId) -> bool:
        """It has ended because its deadline had passed."""
        outcome = self.promises.chosen.get(task)
        return outcome is not None and outcome.reason == Reason.DEADLINE

    def is_given_up(self, task: TaskId) -> bool:
        """A client has cancelled it."""
        return task in self._given_up

    def outcomes(self) -> dict[TaskId, State]:
        """Of all that has ended."""
        return {task: outcome.state for task, outcome in self.promises.chosen.items()}

    def executions_of(self, tasks: Iterable[TaskId]) -> int:
        """How often these have been started, together."""
        return sum(len(self._stories[task].started) for task in tasks)

    def stale(self) -> Iterable[tuple[NodeId, TaskId, int]]:
        """What runs and counts no more: where, and which attempt."""
        promises = self.promises
        for node, running in self._running.items():
            for (attempt, number), run in running.items():
                task, at = (attempt, node) if run.seat is None else (run.seat.gang, run.seat.nodes[0])
                if task in promises.chosen or promises.answers.get((at, task, number)) != promises.latest[task]:
                    yield node, attempt, number

    @property
    def works(self) -> bool:
        """Something runs that counts."""
        running = {(node, *attempt) for node, running in self._running.items() for attempt in running}
        return bool(running.difference(self.stale()))

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
        for run in self._running.get(node, {}).values():
            if run.seat is not None:
                self.together.ended(node, run, run.seat)
        self._running[node] = {}

    def heard(self, now: float, node: NodeId, message: Message, cause: Cause, life: int | None) -> None:
        if cause.seq and not cause.published:  # datagrams have no number
            line, place = (node, cause.sender, life), (cause.seq, cause.index)
            last = self._heard.get(line, (0, -1))
            if place <= last:
                raise Violation("T1", f"{node} is told {type(message).__name__} {cause} after {last}")
            self._heard[line] = place
        if type(message) is Result:
            self._result(node, cause.sender, message.outcome)
        elif type(message) is Submit:
            self._submitted[cause.sender, node, message.task.id] += 1
            if message.task.conditions.deadline_s is not None:
                self._due.add(message.task.id)
        elif type(message) is CancelTasks:
            self._given_up.update(message.which)

    def _result(self, client: NodeId, agent: NodeId, outcome: Outcome) -> None:
        """It is told as often as it has handed the task in there, and always the same."""
        task, left = outcome.task, self._submitted
        if left[client, agent, task] < 1:
            raise Violation("S2", f"{client} is told a second outcome of {task}")
        left[client, agent, task] -= 1
        if self._told.setdefault(task, outcome) != outcome:
            raise Violation("S2", f"{client} is told another outcome of {task} than before")
        if self.promises.chosen.get(task) != outcome:
            raise Violation("S2", f"{client} is told an outcome of {task} that was not chosen")
        if outcome.state is State.CANCELLED and task not in self._given_up:
            raise Violation("S14", f"{client} is told that {task} is cancelled, and nobody has cancelled it")
        if outcome.reason == Reason.DEADLINE and task not in self._due:
            raise Violation("S14", f"{client} is told that {task} is late, and it has no deadline")

    # --- promises ------------------------------------------------------------------------------------------------

    def said(self, now: float, node: NodeId, message: Message) -> None:
        if type(message) is Pledge:
            self.promises.leaves(now, message)

    def recorded(self, now: float, node: NodeId, record: Record) -> None:
        if record.kind is AwardEntry:
            self.promises.wanted(node, record)

    # --- decisions -----------------------------------------------------------------------------------------------

    def noted(self, now: float, node: NodeId, event: Event) -> None:
        look = _LOOKS.get(type(event))
        if look is not None:
            look(self, node, event)

    def _bid(self, node: NodeId, event: BidSubmitted) -> None:
        self._stories[event.task].bidders.add(node)

    def _awarded(self, node: NodeId, event: AuctionAwarded) -> None:
        task, winner = event.task, event.winner
        self.together.awarded(event)
        if event.rule == PROTOCOL:
            self._divided(node, event)
        elif winner not in self._stories[task].bidders:
            raise Violation("A1", f"{node} awards {task} to {winner}, which has not bid for it")
        if not replayed(event):
            raise Violation("G2", f"the record of {task}, epoch {event.epoch}, does not lead to {winner}")

    def _divided(self, node: NodeId, event: AuctionAwarded) -> None:
        """The winner has priced it in its column, and so."""
        tasks, column = self._batches.get(event.auction, ()), self._columns.get((event.auction, event.winner), ())
        costs = [cost for task, cost in zip(tasks, column, strict=True) if task == event.task] if column else []
        terms = next((bid.terms for bid in event.bids if bid.node == event.winner), {})
        if not costs or costs[0] is None or costs[0] != terms.get("run"):
            raise Violation("A1", f"{node} awards {event.task} to {event.winner}, which has not priced it so")

    def _opened(self, node: NodeId, event: BatchOpened) -> None:
        self._batches[event.session] = event.tasks

    def _column(self, node: NodeId, event: BatchColumn) -> None:
        self._columns[event.session, node] = event.costs

    def _reserved(self, node: NodeId, event: ReserveHeld) -> None:
        self.together.reserved(node, event)

    def _member_ended(self, node: NodeId, event: MemberEnded) -> None:
        self._changed.add(node)
        self.together.done(node, event)

    def _changes(self, node: NodeId, event: TaskStarted | TaskEnded | MemberStarted) -> None:
        self._changed.add(node)

    def _committed(self, node: NodeId, event: TaskCommitted) -> None:
        chosen = self.promises.chosen.get(event.task)
        if chosen is None or (chosen.state, chosen.node, chosen.epoch) != (event.state, event.peer, event.epoch):
            is_ = "it is open" if chosen is None else f"it is {chosen.state}, by {chosen.node}"
            raise Violation("S1", f"{node} calls {event.task} {event.state}, by {event.peer}, and {is_}")

    def _peer(self, node: NodeId, event: PeerState) -> None:
        seen = self._agents[node].membership.life_of(event.peer)
        former = self._seen.get((node, event.peer), 0)
        if seen < former:
            raise Violation("M3", f"{node} sees {event.peer} fall from incarnation {former} to {seen}")
        self._seen[node, event.peer] = seen

    # --- work ----------------------------------------------------------------------------------------------------

    def ran(self, now: float, node: NodeId, run: Run) -> None:
        task, number, seat = run.task, run.epoch, run.seat
        name, at = (task.id, node) if seat is None else (seat.gang, seat.nodes[0])
        promises, story = self.promises, self._stories[name]
        epoch = promises.answers.get((at, name, number))
        if epoch is None:
            raise Violation("S3", f"{task.id}, epoch {number}, runs on {node}: {at} has no answer to it on its disk")
        if seat is not None:
            self.together.ran(node, run, seat, epoch)
        elif (name, epoch) in promises.given_back:
            raise Violation("S11", f"{name} runs on {node} in {epoch}, which it has given back")
        elif (epoch, at) in story.started:
            raise Violation("S3", f"{name} runs a second time on {node} in {epoch}")
        if (epoch, at) not in story.started:  # of a gang, with the first of its members
            story.started.add((epoch, at))
            self.executions += 1
        if len(story.started) > (1 if task.conditions.at_most_once else promises.epochs(name)):
            raise Violation("S3", f"{name} runs {len(story.started)} times, in {promises.epochs(name)} epochs")
        running, has = self._running[node], self._resources[node]
        running[task.id, number] = run
        self._changed.add(node)
        if len(running) > has.slots:
            raise Violation("S6", f"{len(running)} attempts run on {node}, of {has.slots} slots")
        for name, _ in task.conditions.amounts:
            taken = sum(dict(one.task.conditions.amounts).get(name, 0.0) for one in running.values())
            if taken > has.amounts.get(name, 0.0) + 1e-9:
                raise Violation("S6", f"{taken:g} {name} are taken on {node}, which has {has.amounts.get(name, 0.0):g}")

    def ended(self, now: float, node: NodeId, task: TaskId, epoch: int) -> None:
        run = self._running[node].pop((task, epoch), None)
        if run is not None and run.seat is not None:
            self.together.ended(node, run, run.seat)
        self._changed.add(node)

    def turned(self, now: float, node: NodeId) -> None:
        if node not in self._changed:
            return
        self._changed.discard(node)
        running = self._running[node]
        said = self._agents[node].participant.load()[0]
        if len(running) > said:
            raise Violation("S13", f"{len(running)} attempts run on {node}, which speaks of {said}")


_LOOKS: dict[type[Event], Callable[[Invariants, NodeId, Any], None]] = {
    BidSubmitted: Invariants._bid,
    AuctionAwarded: Invariants._awarded,
    BatchOpened: Invariants._opened,
    BatchColumn: Invariants._column,
    TaskStarted: Invariants._changes,
    TaskEnded: Invariants._changes,
    TaskCommitted: Invariants._committed,
    ReserveHeld: Invariants._reserved,
    MemberStarted: Invariants._changes,
    MemberEnded: Invariants._member_ended,
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
    if event.rule in (PROTOCOL, GANG):  # its session has named it, or it is the first of its members
        chosen = next((offer for offer in offers if offer.node == event.winner), offers[0])
    else:
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
