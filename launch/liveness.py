"""What must come true in the end, and what must be empty then: the other half of `invariants.py`.

Safety can be broken by one step, so it is looked at after each. That something never happens shows only when there was
time for it: when the last fault is over, every task that was handed in and not refused has

    2 leases + one auction + 5 s, and what the work that was handed in takes at the slowest node, one after the other

of which no more than STILL_S in a row may go by without anybody working at anything; what was cancelled has UNWANTED_S.
Its client, which may have to go over to another agent, knows of that within GO_OVER_S, and every view of who lives has
SETTLE_S. Where much was lost, each of these four is longer by RECOVER_S. A task that has lost a majority of its
holders, or of their journals, is owed to nobody: it waits for them.

`Rest` looks a few times a second, not after each step: what it looks at while faults last (the length of queues,
nonsense between our own agents) does not pass unseen in between.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING

from ..protocols.contract_net import LEASE_S
from ..protocols.core import NodeId, State, TaskId
from ..protocols.swim_words import LIVING, Contact, Presence
from ..transport.faults import Faults
from ..transport.link import LINK_ITEMS_MAX
from ..transport.simulated import SimulatedFleet
from .invariants import Invariants
from .scenario import Scenario
from .simulated_client import DIAL_S, GONE_S, PROBE_EVERY_S
from .violation import Violation

if TYPE_CHECKING:
    from ..agents.agent import Agent

SETTLE_S = 6.0
"""So long after the last fault, and the last death, all living nodes know who lives: exchanges of views, a second or so
apart, of which some meet the dead; then a suspicion at its longest. 5.1 s was the most in 20,000 seeds."""
ROUGH = 0.1
RECOVER_S = 4.0
"""So much longer where more frames than that were lost: a node that missed many answers doubts itself first."""
AUCTION_S = 1.0
SLACK_S = 5.0
STILL_S = 6.0
"""So long, while something has not ended, nothing runs: beside work that runs others may wait for long, but where all
is still there is only a timer to wait for; an owner's patience with a decision is 10 s."""
UNWANTED_S = 5.0
"""So long, at most, until what was cancelled has ended."""
GO_OVER_S = GONE_S + PROBE_EVERY_S + 2 * DIAL_S
"""So long a client takes to find an agent that answers, and to be told what it knows."""
QUEUED_MAX = 100
QUEUED_PER_TASK_MAX = 10
"""Longer than what is said while a cut lasts: with 7 nodes and 12 tasks 27 messages were seen to wait for one peer."""
REST_MAX = 20
"""What may be on its way between two living nodes when all is over; 3 were seen."""


def quiet_from(scenario: Scenario) -> float:
    """When nothing more goes wrong, and nothing more is asked of anybody."""
    asked = [max(handed.at, handed.cancel_at or 0.0) for handed in scenario.tasks]
    return max([scenario.faults.over_at, *asked])


def limit_s(scenario: Scenario) -> float:
    """When all has ended, at the latest."""
    slowest = min(resources.speed / scenario.slowness[node] for node, resources in scenario.nodes.items())
    attempts = [handed.task.attempts_max if scenario.dying else 1 for handed in scenario.tasks]
    work_s = sum(
        times * (handed.task.work or 0.0) / slowest for times, handed in zip(attempts, scenario.tasks, strict=True)
    )
    return quiet_from(scenario) + 2 * LEASE_S + AUCTION_S + SLACK_S + work_s


def recover_s(faults: Faults) -> float:
    """How much later than elsewhere a death may be known after these faults."""
    return RECOVER_S if faults.loss > ROUGH else 0.0


def settled_at(faults: Faults) -> float:
    """When all who live know who lives, at the latest."""
    return faults.over_at + SETTLE_S + recover_s(faults)


class Rest:
    """Looks whether a fleet has come to rest, and whether all is then as it must be."""

    def __init__(
        self, fleet: SimulatedFleet, agents: Mapping[NodeId, Agent], seen: Invariants, scenario: Scenario
    ) -> None:
        self._queued_max = QUEUED_MAX + QUEUED_PER_TASK_MAX * len(scenario.tasks)
        self._recover_s = recover_s(scenario.faults)
        self._fleet = fleet
        self._agents = agents
        self._seen = seen
        self._stale: dict[tuple[NodeId, TaskId, int], float] = {}  # since when
        self._still_since: float | None = None  # nothing runs, and something has not ended
        self._untold: dict[TaskId, float] = {}  # it has ended, and its client does not know: since when
        self._unwanted: dict[TaskId, float] = {}  # it was cancelled, and has not ended: since when

    def _living(self) -> list[Agent]:
        return [self._agents[node] for node in self._fleet.alive() if node in self._agents]

    def look(self) -> None:
        """G1, P1 and K1. Raises Violation."""
        for node in self._fleet.alive():
            waiting = self._fleet.links(node).longest
            if waiting > self._queued_max:
                raise Violation("G1", f"{waiting} messages of {node} wait for one peer")
        for agent in self._living():
            waits = agent.participant.load()[1]
            if waits > self._queued_max:
                raise Violation("G1", f"{waits} attempts wait on {agent.node}")
        self._seen.together.look(self._fleet.now)
        if self._fleet.garbage:
            _, node, error = self._fleet.garbage[0]
            raise Violation("P1", f"{node} was sent nonsense: {error}")

    def look_at_work(self, stranded: Container[TaskId]) -> None:
        """L4, once nothing goes wrong any more. Raises Violation."""
        stale = {attempt for attempt in self._seen.stale() if attempt[1] not in stranded}
        self._stale = {attempt: self._stale.get(attempt, self._fleet.now) for attempt in sorted(stale)}
        for (node, task, epoch), since in self._stale.items():
            if self._fleet.now - since > SETTLE_S:
                raise Violation("L4", f"{node} still runs {task}, epoch {epoch}, which counts no more")

    def unfinished(self, owed: Iterable[TaskId], told: Iterable[TaskId], all_owed: bool) -> Violation | None:
        """What is still to be done, as the invariant that it breaks if time is up; None: nothing.

        `owed` are the tasks that must end, `told` those whose end their client knows; `all_owed`: there are no others,
        whose holders are gone. Raises Violation for what takes too long by itself, while other work goes on.
        """
        told, owed = set(told), list(owed)
        self._look_at_ends(owed, told)
        for task in owed:
            if self._seen.outcome(task) is None:
                return Violation("L1", f"{task} has not ended")
        for task in owed:
            if task not in told:
                return Violation("L2", f"{task} is {self._seen.outcome(task)}, and its client does not know")
        for agent in self._living() if all_owed else ():
            for task in agent.commitment.holder.undecided:
                if self._seen.outcome(task) is not None:
                    return Violation("L5", f"{task} has ended, and {agent.node}, which holds it, does not know")
            if agent.initiator.open_tasks:
                return Violation("L1", f"{agent.initiator.open_tasks} tasks of {agent.node} have not ended")
            running, waits, _ = agent.participant.load()
            if running or waits:
                return Violation("G1", f"{running} attempts run on {agent.node}, {waits} wait: nobody has tasks there")
        for node in self._fleet.alive():
            links = self._fleet.links(node)
            for peer in self._fleet.alive():
                if links.knows(peer) is not None and links.room(peer) < LINK_ITEMS_MAX - REST_MAX:
                    return Violation("G1", f"{LINK_ITEMS_MAX - links.room(peer)} messages of {node} wait for {peer}")
        return None

    def _look_at_ends(self, owed: Iterable[TaskId], told: Container[TaskId]) -> None:
        """L1 and L2, of what stands still."""
        now, ended = self._fleet.now, self._seen.outcomes()
        open_ = [task for task in owed if task not in ended]
        if not open_ or self._seen.works:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        elif now - self._still_since > STILL_S + self._recover_s:
            still_s = now - self._still_since
            raise Violation("L1", f"{open_[0]} has not ended, and for {still_s:g} s nobody has worked at anything")
        self._untold = {
            task: self._untold.get(task, now) for task in owed if task in ended and task not in told
        }
        self._unwanted = {
            task: self._unwanted.get(task, now) for task in open_ if self._seen.is_given_up(task)
        }
        for task, since in self._unwanted.items():
            if now - since > UNWANTED_S + self._recover_s:
                raise Violation("L1", f"{task} was cancelled, and has not ended for {now - since:g} s")
        for task, since in self._untold.items():
            if now - since > GO_OVER_S + self._recover_s:
                raise Violation("L2", f"{task} is {ended[task]}, and its client has not known for {now - since:g} s")

    def unsettled(self) -> Violation | None:
        """M1, M2, M4: where somebody is wrong about who lives; None: nowhere."""
        living = self._living()
        lives = {agent.node: agent.membership.contact.incarnation for agent in living}
        views: dict[frozenset[Contact], NodeId] = {}
        for agent in living:
            members = agent.membership.members
            seen = {contact.node: (contact.incarnation, state) for contact, state in members}
            for node, (_, state) in seen.items():
                if node not in lives and state in LIVING:
                    return Violation("M1", f"{node} is dead, and {state} as {agent.node} sees it")
            for node, life in lives.items():
                known, state = seen.get(node, (0, Presence.DEAD))
                if state not in LIVING or known != life:
                    return Violation("M2", f"{node} lives, and {agent.node} sees incarnation {known} of it {state}")
            views.setdefault(frozenset(contact for contact, state in members if state in LIVING), agent.node)
        if len(views) > 1:
            return Violation("M4", f"{' and '.join(views.values())} do not agree on who lives, and where")
        return None

    def judge(self, faultless: bool) -> None:
        """Now that all has ended: L3. Raises Violation."""
        if faultless:
            self._judge_work()

    def _judge_work(self) -> None:
        states = self._seen.outcomes()
        done = [task for task, state in states.items() if state is State.DONE]
        for task, state in states.items():
            if state not in (State.DONE, State.CANCELLED, State.UNPLACED) and not self._seen.is_late(task):
                raise Violation("L3", f"{task} is {state}, though nothing went wrong")
        if self._seen.executions_of(done) != len(done):
            raise Violation("L3", f"{self._seen.executions_of(done)} executions for {len(done)} tasks that are done")
