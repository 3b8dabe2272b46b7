"""The models of the world, each honoured by the running fleet: what tasks take and prefer, and what nodes have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from batch_fleet import CALLS, PRICES, BatchFleet, Matrix
from simulated_agents import START_S, Client, Fleet

from parley.agents.agent import Agent
from parley.agents.executors.simulated import attempt
from parley.agents.resources import Resources
from parley.protocols.batch_words import PROTOCOL
from parley.protocols.batches import Policy
from parley.protocols.contract_events import AuctionAwarded, TaskEnded, TaskStarted
from parley.protocols.core import SLOTS, Conditions, Dividing, Local, NodeId, Run, State, Task
from parley.protocols.participant import Asked, Pricing, Valuation
from parley.protocols.swim_words import Contact, Members


class Site(Fleet):
    """Agents with resources of their own."""

    def __init__(self, nodes: Mapping[NodeId, Resources], tasks: Sequence[Task]) -> None:
        self.nodes = nodes
        super().__init__([each.speed for each in nodes.values()], {"n1": tasks})

    def start(self, name: NodeId, incarnation: int) -> None:
        resources = self.nodes[name]
        contact = Contact(name, incarnation, f"sim://{name}", f"sim://{name}!", resources.slots, resources.speed)
        agent = self.agents[name] = Agent(contact, resources, self.wire.now)

        def execute(run: Run, now: float) -> tuple[float, Local]:
            finished = attempt(run.task, run.epoch, run.payload, resources.speed)
            return finished.seconds, finished

        self.wire.add(name, agent, execute, incarnation)
        if name != "n1":
            self.wire.tell(name, Members((self.agents["n1"].membership.contact,)), "n1")

    def done(self) -> dict[str, str | None]:
        """Where each task was done."""
        self.run(START_S + 500.0)
        [client] = self.clients.values()
        assert {outcome.state for outcome in client.outcomes} == {State.DONE}
        assert len(client.outcomes) == len(client._tasks)
        return {outcome.task: outcome.node for outcome in client.outcomes}

    def spans(self) -> dict[str, tuple[float, float, NodeId]]:
        """From when to when each task ran, and where."""
        starts = {event.task: at for at, _, event in self.events(TaskStarted) if isinstance(event, TaskStarted)}
        return {
            event.task: (starts[event.task], at, node)
            for at, node, event in self.events(TaskEnded)
            if isinstance(event, TaskEnded)
        }


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    return max(sum(begin <= start < end for begin, end in spans) for start, _ in spans)


def test_amounts_many_at_once_are_never_exceeded() -> None:
    """Of two resources: what runs together fits into both."""
    needs = [(("gpu", 1.0), ("vram", float(size))) for size in (6, 2, 5, 3, 4, 4, 1, 7)]
    tasks = [Task(f"t{number}", "work", 1.0, terms=Conditions(amounts=need)) for number, need in enumerate(needs)]
    haves = {"n1": {"gpu": 2.0, "vram": 8.0}, "n2": {"gpu": 1.0, "vram": 7.0}}
    site = Site({name: Resources(4, 1.0, 1.0, amounts=have) for name, have in haves.items()}, tasks)
    site.done()
    spans = site.spans()
    for node, have in haves.items():
        here = {task: span for task, span in spans.items() if span[2] == node}
        assert here
        for begin, _, _ in here.values():
            together = [int(task[1:]) for task, (start, end, _) in here.items() if start <= begin < end - 1e-9]
            for place, name in enumerate(("gpu", "vram")):
                assert sum(needs[number][place][1] for number in together) <= have[name]


def test_a_gang_has_all_its_slots_at_once_or_waits() -> None:
    small = [Task(f"s{number}", "work", 1.0 + number / 10) for number in range(8)]
    gang = Task("gang", "work", 2.0, terms=Conditions(amounts=((SLOTS, 3.0),), priority=1))
    site = Site({"n1": Resources(1, 1.0, 1.0), "n2": Resources(4, 1.0, 1.0)}, [*small, gang])
    ran = site.done()
    assert ran["gang"] == "n2"
    spans = site.spans()
    begin, end, _ = spans.pop("gang")
    beside = [(start, stop) for start, stop, node in spans.values() if node == "n2" and start < end and stop > begin]
    assert beside
    assert most_at_once(beside) == 1, "one slot is left beside it"


def test_a_gang_that_fits_nowhere_is_told_so() -> None:
    gang = Task("gang", "work", 2.0, terms=Conditions(amounts=((SLOTS, 3.0),)))
    site = Site({"n1": Resources(1, 1.0, 1.0), "n2": Resources(2, 1.0, 1.0)}, [gang])
    site.run(START_S + 20.0)
    [outcome] = site.clients["n1"].outcomes
    assert outcome.state is State.UNPLACED
    assert "slots 2 < 3" in outcome.error


def test_what_a_task_prefers_is_worth_so_much_and_no_more() -> None:
    """The lab is half as fast: what prefers it by more than that costs goes there, what does so by less does not."""
    near = [Task(f"near{n}", "work", 2.0, terms=Conditions(prefers=(("site=lab", 60.0),))) for n in range(3)]
    far = [Task(f"far{n}", "work", 2.0, terms=Conditions(prefers=(("site=lab", 0.5),))) for n in range(3)]
    nodes = {"n1": Resources(1, 8.0, 8.0), "n2": Resources(3, 4.0, 8.0, tags=("site=lab",))}
    site = Site(nodes, [*near, *far])
    ran = site.done()
    assert {ran[task.id] for task in near} == {"n2"}
    assert "n1" in {ran[task.id] for task in far}
    awards = {event.task: event for _, _, event in site.events(AuctionAwarded) if isinstance(event, AuctionAwarded)}
    elsewhere = {bid.node: bid.terms for bid in awards["near0"].bids}
    assert elsewhere["n1"]["affinity"] == 60.0
    assert "affinity" not in elsewhere["n2"]


def test_the_higher_reward_goes_first_and_what_would_be_too_late_is_not_begun() -> None:
    tasks = [Task(f"t{reward}", "work", 1.0, terms=Conditions(reward=float(reward))) for reward in range(6)]
    hasty = Task("hasty", "work", 1.0, terms=Conditions(deadline_s=0.5))
    site = Site({"n1": Resources(1, 1.0, 1.0)}, [*tasks, hasty])
    site.run(START_S + 60.0)
    outcomes = {outcome.task: outcome for outcome in site.clients["n1"].outcomes}
    assert outcomes.pop("hasty").state is not State.DONE
    assert "hasty" not in site.spans()
    begun = sorted(outcomes, key=lambda task: site.spans()[task][0])
    assert begun[1:] == sorted(begun[1:], reverse=True), "the first had begun before the others came"


# --- loaded models and preferences, in batches ----------------------------------------------------------------------


class Servers(BatchFleet):
    """Each node has loaded one of two models; the other takes LOAD_S to come."""

    LOAD_S = 8.0

    def _value(self, name: NodeId) -> Valuation:
        def value(asked: Asked, now: float) -> Pricing:
            run = self.matrix[name][asked.task.id]
            assert run is not None
            loaded = (int(name[1:]) + int(asked.task.id[1:])) % 2 == 0
            return Pricing((("run", run),) if loaded else (("run", run), ("load_model", self.LOAD_S)))

        return value


@pytest.mark.parametrize("policy", [PRICES, CALLS, Policy(Dividing.PRICES)], ids=["auto", "calls", "prices"])
def test_work_goes_to_where_its_model_is_loaded(policy: Policy) -> None:
    matrix: Matrix = {f"n{node}": {f"t{task}": 1.0 + task % 5 for task in range(40)} for node in range(1, 5)}
    fleet = Servers(matrix, {"n1": list(matrix["n1"])}, policy)
    fleet.run(START_S + 500.0)
    outcomes = fleet.client("n1").outcomes
    assert len(outcomes) == 40
    right = sum((int(str(outcome.node)[1:]) + int(outcome.task[1:])) % 2 == 0 for outcome in outcomes)
    assert right >= 36
    awards = [event for _, _, event in fleet.events(AuctionAwarded) if isinstance(event, AuctionAwarded)]
    by_prices = sum(award.rule == PROTOCOL for award in awards)
    assert by_prices > 20 if policy is not CALLS else by_prices == 0


def test_rewards_count_in_a_batch_as_they_do_in_calls() -> None:
    matrix: Matrix = {f"n{node}": {f"t{task}": 1.0 + (task * node) % 5 for task in range(30)} for node in (1, 2)}
    fleet = BatchFleet(matrix, {}, Policy(Dividing.PRICES))
    rich = {"t3", "t11", "t26"}
    tasks = [
        Task(name, "work", 2.0, terms=Conditions(reward=9.0) if name in rich else None) for name in matrix["n1"]
    ]
    fleet.clients["n1"] = client = Client("n1", tasks)
    fleet.wire.add("client-n1", client)
    fleet.wire.mesh(["client-n1", "n1"])
    fleet.run(START_S + 500.0)
    awards = [event for _, _, event in fleet.events(AuctionAwarded) if isinstance(event, AuctionAwarded)]
    for node in ("n1", "n2"):
        divided = [award.task in rich for award in awards if award.rule == PROTOCOL and award.winner == node]
        assert len(divided) > 5
        assert divided == sorted(divided, reverse=True)
    assert rich <= {award.task for award in awards[:10]}
