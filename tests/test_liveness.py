"""When all has ended, at the latest; and what is found missing when it has not."""

from __future__ import annotations

import pytest

from parley.launch.liveness import GO_OVER_S, QUEUED_MAX, SETTLE_S, STILL_S, Rest, limit_s, quiet_from
from parley.launch.scenario import Handed, Scenario, draw
from parley.launch.simulate import World
from parley.launch.violation import Violation
from parley.protocols.core import Outcome, Run, State, Task
from parley.protocols.epochs import Epoch
from parley.protocols.requests import Submitted
from parley.protocols.swim_words import Contact, Ping, Presence
from parley.transport.faults import Faults, Pause


def scenario(*tasks: Handed, faults: Faults | None = None, dying: float = 0.0) -> Scenario:
    drawn = draw(1, 3, 0, "none")
    return Scenario(1, drawn.nodes, tasks, faults or Faults(), drawn.slowness, dying)


def ended(*tasks: Handed) -> World:
    world = World(scenario(*tasks))
    world.run()
    return world


TASK = Handed(Task("t", "work", 1.0), "n1", 2.0)


def rest_of(world: World) -> Rest:
    return Rest(world.fleet, world.agents, world.invariants, world.scenario)


def test_time_is_counted_from_the_last_fault_or_wish() -> None:
    assert quiet_from(scenario()) == 0.0
    assert quiet_from(scenario(TASK)) == 2.0
    assert quiet_from(scenario(Handed(TASK.task, "n1", 2.0, cancel_at=4.0))) == 4.0
    assert quiet_from(scenario(TASK, faults=Faults(pauses=(Pause("n1", 1.0, 5.0),)))) == 5.0
    slowest = min(resources.speed for resources in scenario().nodes.values())
    assert limit_s(scenario(TASK)) == 2.0 + 2.0 + 1.0 + 5.0 + 1.0 / slowest
    assert limit_s(scenario(TASK, dying=0.1)) == 2.0 + 2.0 + 1.0 + 5.0 + 3.0 / slowest


def test_a_fleet_at_rest() -> None:
    world = ended(TASK)
    rest = rest_of(world)
    rest.look()
    rest.look_at_work(set())
    rest.judge(faultless=True)
    assert rest.unfinished(world.owed(set()), world.told(), True) is None
    assert rest.unsettled() is None


def test_l1_and_l2() -> None:
    world = ended(TASK)
    never, untold = rest_of(world).unfinished(["other"], [], True), rest_of(world).unfinished(["t"], [], True)
    assert never is not None
    assert untold is not None
    assert str(never) == "L1: other has not ended"
    assert str(untold) == "L2: t is done, and its client does not know"


def test_l1_where_all_stands_still() -> None:
    world = ended(TASK)
    rest = rest_of(world)
    rest.unfinished(["other"], [], True)
    world.fleet.run(until=world.fleet.now + STILL_S + 1.0)
    with pytest.raises(Violation, match=f"other has not ended, and for {STILL_S + 1.0:g} s nobody has worked"):
        rest.unfinished(["other"], [], True)
    world.invariants._running["n2"]["other", 1] = Run(TASK.task, 1, b"")
    world.invariants.promises.answers["n2", "other", 1] = epoch = Epoch(0, "n1#1", 1)
    world.invariants.promises.latest["other"] = epoch
    rest.unfinished(["other"], [], True)  # somebody works


def test_l2_is_counted_from_the_end_of_each_task() -> None:
    world = ended(TASK)
    rest = rest_of(world)
    rest.unfinished(["t"], [], True)
    world.fleet.run(until=world.fleet.now + GO_OVER_S - 0.5)
    assert rest.unfinished(["t"], [], True) is not None
    world.fleet.run(until=world.fleet.now + 1.0)
    with pytest.raises(Violation, match="L2: t is done, and its client has not known for"):
        rest.unfinished(["t"], [], True)
    assert rest.unfinished(["t"], ["t"], True) is None


def test_g1() -> None:
    world = ended(TASK)
    world.fleet.run(until=world.fleet.now + 0.1)  # what was said last is acknowledged
    for _ in range(QUEUED_MAX + 100):
        world.fleet.links("n1").send("n2", Ping(1), world.fleet.now)
    with pytest.raises(Violation, match="G1: 200 messages of n1 wait for one peer"):
        rest_of(world).look()
    assert "G1: 200 messages of n1 wait for n2" in str(rest_of(world).unfinished([], [], True))


def test_p1() -> None:
    world = ended()
    world.fleet.tell("n1", Submitted("t"), "n2")
    with pytest.raises(Violation, match="P1: n1 was sent nonsense"):
        rest_of(world).look()


def test_l4() -> None:
    world = ended(TASK)
    rest = rest_of(world)
    world.invariants._running["n2"]["t", 1] = Run(TASK.task, 1, b"")
    world.invariants.promises.answers["n2", "t", 1] = Epoch(0, "n1#1", 1)
    rest.look_at_work(set())
    world.fleet.run(until=world.fleet.now + SETTLE_S + 1.0)
    with pytest.raises(Violation, match="L4: n2 still runs t, epoch 1, which counts no more"):
        rest.look_at_work(set())


def test_m1_m2_m4() -> None:
    world = ended()
    world.agents["n1"].membership._peers["n2"].state = Presence.DEAD
    assert "M2: n2 lives, and n1 sees incarnation 1 of it dead" in str(rest_of(world).unsettled())
    world = ended()
    world.agents["n1"].membership._peers["n2"].contact = Contact("n2", 1, "sim://elsewhere", "sim://n2!")
    assert "M4" in str(rest_of(world).unsettled())
    world.fleet.kill("n3")
    assert "M1: n3 is dead, and alive as n1 sees it" in str(rest_of(world).unsettled())


def test_l3() -> None:
    world = ended(TASK)
    world.invariants.story("t").started.add((Epoch(7, "x", 1), "n1"))
    with pytest.raises(Violation, match="L3: 2 executions for 1 tasks that are done"):
        rest_of(world).judge(faultless=True)
    rest_of(world).judge(faultless=False)
    world.invariants.promises.chosen["t"] = Outcome("t", State.FAILED)
    with pytest.raises(Violation, match="L3: t is failed, though nothing went wrong"):
        rest_of(world).judge(faultless=True)
