"""One seed, one scenario: a fleet, the tasks that are handed to it, and what goes wrong meanwhile.

Faults are chosen as in swarm testing (Groce, Zhang, Eide, Chen, Regehr, ISSTA 2012): each seed has some kinds of them
and lacks the others altogether. A run where everything goes wrong at once hides what only a few faults together show,
for one that crashes every node never has one that is merely slow.

    0 ........ 0.6 s .................... 2.6 s .... 3.4 s ................................. end
    agents meet  tasks are handed in      the last   everything heals;                       all has ended, and
                 faults begin             task       those who died for good stay dead       all know who lives

Invariants: the same arguments give the same scenario; one agent at least is never stopped for good; nothing but the
dead and the drift of clocks outlasts FAULTS_UNTIL_S (harsh: 5 s).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

import msgspec

from ..agents.resources import Resources
from ..protocols.batch_words import Mode
from ..protocols.batches import NEVER, Policy
from ..protocols.core import Conditions, Dividing, NodeId, Task
from ..transport.faults import Crash, Cut, Faults, Left, Pause, Trouble, Way

Profile: TypeAlias = Literal["none", "default", "harsh"]
PROFILES: tuple[Profile, ...] = ("none", "default", "harsh")

CLIENTS_FROM_S = 0.5
"""When clients connect, and learn who could hold their tasks."""
FAULTS_FROM_S = 0.6
FAULTS_UNTIL_S: dict[Profile, float] = {"none": 0.0, "default": 3.4, "harsh": 5.0}
TASKS_UNTIL_S = 2.6
"""When the last task is handed in."""
SPEEDS = (0.5, 1.0, 1.0, 2.0, 4.0)
HOLDERS = (3, 3, 3, 3, 1, 5)
POLICIES = (
    *(5 * [NEVER]),
    *(5 * [Policy()]),
    Policy(Dividing.PRICES),
    Policy(Dividing.PRICES, Mode.GOSSIP),
)
"""Every sixth seed hands in batches that sessions divide, half of them by gossip."""
BATCH = "batch"
"""The tag that nodes need which take batches."""
VRAM = (0.0, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Handed:
    """A task that a client hands to its agent at a time, and may cancel at a later one."""

    task: Task
    entry: NodeId
    at: float
    cancel_at: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a run is made of."""

    seed: int
    nodes: dict[NodeId, Resources]
    tasks: tuple[Handed, ...]
    faults: Faults
    slowness: dict[NodeId, float]
    """How many times as long as it should each node takes."""
    dying: float = 0.0
    """How likely an attempt dies without its node."""
    holders: int = 3
    """How many nodes are to hold each task."""
    policy: Policy = NEVER
    """How what waits together is divided."""

    @property
    def entries(self) -> list[NodeId]:
        """The agents that clients talk to."""
        return sorted({handed.entry for handed in self.tasks})


def draw(seed: int, nodes: int, tasks: int, profile: Profile) -> Scenario:
    """The scenario of a seed."""
    random = Random(f"{seed}/{nodes}/{tasks}/{profile}")
    policy = Random(f"{seed}/policy").choice(POLICIES)
    names = [f"n{number}" for number in range(1, nodes + 1)]
    fleet = {name: _resources(random) for name in names}
    entries = random.sample(names, random.randint(1, min(3, nodes)))
    handed = tuple(_handed(number, entries, random) for number in range(1, tasks + 1))
    if profile != "none":
        handed = _limited(handed, Random(f"{seed}/deadlines"))
    handed = _ganged(handed, fleet, Random(f"{seed}/gangs"))
    if policy.dividing is Dividing.PRICES:
        handed = _together(handed, Random(f"{seed}/batch"))
        able = _able(names, Random(f"{seed}/able"))
        fleet = {
            name: dataclasses.replace(resources, slots=1, tags=(BATCH,) if name in able else ())
            for name, resources in fleet.items()
        }
    holders = random.choice(HOLDERS)
    if profile == "none":
        return Scenario(seed, fleet, handed, Faults(), dict.fromkeys(names, 1.0), holders=holders, policy=policy)
    slowness = {name: random.choice((1.0, 1.0, 1.5, 3.0)) for name in names}
    return Scenario(
        seed,
        fleet,
        handed,
        _faults(names, entries, profile, random),
        slowness,
        random.choice((0.0, 0.0, 0.1)),
        holders,
        policy,
    )


def client_of(entry: NodeId) -> NodeId:
    """The client that hands tasks to this agent."""
    return f"client-{entry}"


def _resources(random: Random) -> Resources:
    speed = random.choice(SPEEDS)
    return Resources(random.randint(1, 3), speed, speed, amounts={"vram": random.choice(VRAM)})


def _handed(number: int, entries: list[NodeId], random: Random) -> Handed:
    """Mostly short tasks, some long, some that need what few nodes have, some that are given up."""
    work = round(0.05 * 40.0 ** random.random() if random.random() < 0.9 else random.uniform(1.0, 4.0), 3)
    terms = None
    if random.random() < 0.3:
        terms = Conditions(amounts=(("vram", random.choice((1.0, 1.0, 2.0))),), priority=random.randint(0, 1))
    elif random.random() < 0.1:
        terms = Conditions(at_most_once=True)
    at = random.uniform(FAULTS_FROM_S, TASKS_UNTIL_S)
    cancel_at = at + random.uniform(0.0, 3.0) if random.random() < 0.15 else None
    return Handed(Task(f"t{number:03}", "work", work, terms=terms), random.choice(entries), at, cancel_at)


def _limited(handed: tuple[Handed, ...], random: Random) -> tuple[Handed, ...]:
    """Some must be done soon."""
    limited = []
    for one in handed:
        task = one.task
        if random.random() < 0.15:
            terms = msgspec.structs.replace(task.conditions, deadline_s=round(random.uniform(0.5, 6.0), 3))
            task = msgspec.structs.replace(task, terms=terms)
        limited.append(dataclasses.replace(one, task=task))
    return tuple(limited)


def _ganged(handed: tuple[Handed, ...], fleet: dict[NodeId, Resources], random: Random) -> tuple[Handed, ...]:
    """In one seed of three, some are gangs; few of these find no room in the whole fleet."""
    if random.random() < 2 / 3:
        return handed
    slots = sum(resources.slots for resources in fleet.values())
    likely = random.choice((0.2, 0.5))
    ganged = []
    for one in handed:
        task = one.task
        if random.random() < likely:
            size = slots + 1 if random.random() < 0.05 else random.randint(1, max(slots // 2, 1))
            task = msgspec.structs.replace(task, terms=msgspec.structs.replace(task.conditions, gang=size))
        ganged.append(dataclasses.replace(one, task=task))
    return tuple(ganged)


def _together(handed: tuple[Handed, ...], random: Random) -> tuple[Handed, ...]:
    """A batch, or a few: all of an entry at once, nothing that only calls can place."""
    at = {one.entry: random.uniform(FAULTS_FROM_S, TASKS_UNTIL_S) for one in handed}
    batch = []
    for one in handed:
        entry = one.entry if random.random() < 0.3 else handed[0].entry
        terms = Conditions(needs=(BATCH,), at_most_once=one.task.conditions.at_most_once)
        cancel_at = None if one.cancel_at is None else at[entry] + random.uniform(0.0, 3.0)
        task = msgspec.structs.replace(one.task, terms=terms)
        batch.append(Handed(task, entry, at[entry], cancel_at))
    return tuple(batch)


def _able(names: list[NodeId], random: Random) -> list[NodeId]:
    """Those who take a batch: all, or so few that some of it is still to be divided when its session ends."""
    return names if random.random() < 0.5 else random.sample(names, min(random.randint(2, 3), len(names)))


def _faults(names: list[NodeId], entries: list[NodeId], profile: Profile, random: Random) -> Faults:
    harsh, until = profile == "harsh", FAULTS_UNTIL_S[profile]

    def some(likely: float) -> bool:
        return random.random() < likely

    def times(most: int) -> range:
        return range(random.randint(1, most)) if some(0.8 if harsh else 0.5) else range(0)

    rough = some(0.9 if harsh else 0.6)
    low, high = random.choice(((0.0005, 0.0015), (0.001, 0.02), (0.01, 0.1) if harsh else (0.005, 0.04)))
    crashes = _crashes(names, times(max(len(names) // 2, 1) if harsh else 2), until, random)
    return Faults(
        loss=random.uniform(0.0, 0.3 if harsh else 0.1) if rough else 0.0,
        duplication=random.uniform(0.0, 0.2 if harsh else 0.1) if rough and some(0.7) else 0.0,
        delay_s=(low, high),
        late=random.uniform(0.0, 0.05) if rough and some(0.5) else 0.0,
        cuts=tuple(_cut(names, entries, until, random) for _ in times(4 if harsh else 2)),
        crashes=crashes,
        pauses=_pauses(names, times(2), until, random),
        troubles=tuple(_trouble(random.choice(names), until, random) for _ in times(2)),
        drift={name: 1.0 + random.uniform(-0.05, 0.05) for name in names} if some(0.3) else {},
        until=until,
    )


def _span(longest_s: float, over: float, random: Random) -> tuple[float, float]:
    at = random.uniform(FAULTS_FROM_S, over - 0.5)
    return at, min(at + random.uniform(0.1, longest_s), over)


def _cut(names: list[NodeId], entries: list[NodeId], over: float, random: Random) -> Cut:
    """Halves, one node, one way out or in (deaf), with or without a bridge, steady or flapping."""
    at, until = _span(5.0, over, random)
    many = random.choice((1, 1, max(len(names) // 2, 1)))
    side = random.sample(names, many)
    clients = [client_of(entry) for entry in entries if entry in side]  # a client stands beside its agent
    bridge = random.choice([None, *(name for name in names if name not in side)]) if random.random() < 0.3 else None
    way = random.choice((Way.BOTH, Way.BOTH, Way.OUT, Way.OUT, Way.IN))
    flap_s = random.uniform(0.05, 1.0) if random.random() < 0.25 else 0.0
    return Cut(at, until, frozenset([*side, *clients]), way, bridge, flap_s)


def _crashes(names: list[NodeId], times: range, over: float, random: Random) -> tuple[Crash, ...]:
    """At most one crash a node, and one node that never dies."""
    crashes = []
    for name in random.sample(names, min(len(times), len(names) - 1)):
        at, back_at = _span(4.0, over, random)
        for_good = random.random() < 0.4
        left = random.choice((Left.ALL, Left.SYNCED, Left.TORN, Left.COPY))
        copied_at = random.uniform(0.0, at)
        crashes.append(Crash(name, at, None if for_good else back_at, random.random() < 0.5, left, copied_at))
    return tuple(crashes)


def _pauses(names: list[NodeId], times: range, over: float, random: Random) -> tuple[Pause, ...]:
    return tuple(Pause(name, *_span(4.0, over, random)) for name in random.sample(names, min(len(times), len(names))))


def _trouble(node: NodeId, over: float, random: Random) -> Trouble:
    at, until = _span(2.0, over, random)
    return Trouble(node, at, until, random.random() < 0.5)
