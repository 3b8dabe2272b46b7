"""Random tasks whose end is known beforehand: what a soak hands in.

    draw(rng, known) -> Errand(submission, ends, value, give_up_s)

Every kind is drawn, of those that end well, fail, time out, are given up, and that nobody can run; with random needs,
priorities, deadlines, replicas, and the results of earlier ones handed on.

Invariant: whatever happens to nodes that hold no tasks of their own, a task ends in one of its `ends`, and one that is
done has its `value`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...agents.payload import Handed
from ...protocols.core import State
from ...protocols.requests import Follow
from ..submission import Submission
from . import soak_functions

TAGS = ("gpu", "site=a", "site=b")
"""What some of the nodes have; the last two exclude each other, and every node has one of them."""
AMOUNT = "vram"
"""What comes with a gpu: 8 GiB of it."""
NOBODY_HAS = "quantum"
LONG_S = 30.0
"""Much longer than anybody waits."""
LARGE_BYTES = 100_000

DONE = frozenset({State.DONE})
FAILED = frozenset({State.FAILED})
CANCELLED = frozenset({State.CANCELLED})


class Known(NamedTuple):
    """An earlier task of the same client that will be done, and its value."""

    task: str
    value: object


@dataclass(frozen=True)
class Errand:
    """A task to hand in. `value` is asked for if `has_value`; `give_up_s`: it is given up after so long."""

    submission: Submission
    ends: frozenset[State] = DONE
    value: object = None
    has_value: bool = False
    give_up_s: float | None = None

    @property
    def is_known(self) -> bool:
        """Later ones may come after it."""
        return self.ends == DONE and self.has_value and self.submission.replicas == 1


Draw = Callable[[random.Random, Sequence[Known]], Errand]


def _echo(rng: random.Random, known: Sequence[Known]) -> Errand:
    value: object = {"number": rng.randrange(10**9), "words": ["a", "b"]}
    return Errand(Submission("echo", [value]), value=[value], has_value=True)


def _large(rng: random.Random, known: Sequence[Known]) -> Errand:
    """By reference: what it refers to lies at its holders."""
    value = rng.randbytes(LARGE_BYTES)
    return Errand(Submission("echo", [value]), value=[value], has_value=True)


def _after(rng: random.Random, known: Sequence[Known]) -> Errand:
    """The results of one or two that came before."""
    parents = rng.sample(known, min(len(known), rng.randint(1, 2)))
    arguments = [Handed(parent.task) for parent in parents]
    return Errand(Submission("echo", arguments), value=[parent.value for parent in parents], has_value=True)


def _after_a_failure(rng: random.Random, known: Sequence[Known]) -> Errand:
    """Its parent is none that this agent knows: it is refused."""
    return Errand(Submission("echo", [], after=[f"none{rng.randrange(10**9)}"]), FAILED)


def _sleep(rng: random.Random, known: Sequence[Known]) -> Errand:
    return Errand(Submission("sleep", {"seconds": rng.uniform(0.0, 0.2)}))


def _work(rng: random.Random, known: Sequence[Known]) -> Errand:
    return Errand(Submission("work", {}, work=rng.lognormvariate(-3.0, 1.0)))


def _command(rng: random.Random, known: Sequence[Known]) -> Errand:
    if rng.random() < 0.3:
        return Errand(Submission("command", {"argv": ["false"]}), FAILED)
    word = f"word{rng.randrange(10**6)}"
    return Errand(Submission("command", {"argv": ["echo", word]}, follow=Follow.OUTPUT))


def _function(rng: random.Random, known: Sequence[Known]) -> Errand:
    choice = rng.random()
    if choice < 0.6:
        left, right = rng.randrange(1000), rng.randrange(1000)
        return Errand(_call("add", [left, right]), value=left + right, has_value=True)
    if choice < 0.8:
        return Errand(_call("fail", ["as it was asked to"]), FAILED)
    lines = rng.randrange(1, 2000)
    follow = Follow.OUTPUT
    return Errand(dataclasses.replace(_call("print_lines", [lines]), follow=follow), value=lines, has_value=True)


def _late(rng: random.Random, known: Sequence[Known]) -> Errand:
    """It takes longer than an attempt may."""
    limit_s = rng.uniform(0.05, 0.3)
    return Errand(dataclasses.replace(_long(rng), timeout_s=limit_s, attempts=rng.randint(1, 2)), FAILED)


def _given_up(rng: random.Random, known: Sequence[Known]) -> Errand:
    return Errand(_long(rng), CANCELLED, give_up_s=rng.uniform(0.0, 0.5))


def _with_deadline(rng: random.Random, known: Sequence[Known]) -> Errand:
    """It may be done in time, or not."""
    task = Submission("work", {}, work=rng.uniform(0.01, 0.3), deadline_s=rng.uniform(0.05, 1.0))
    return Errand(task, DONE | FAILED)


def _for_nobody(rng: random.Random, known: Sequence[Known]) -> Errand:
    task = Submission("echo", [], need=[NOBODY_HAS])
    match rng.randrange(3):
        case 0:
            return Errand(task, frozenset({State.UNPLACED}))
        case 1:
            return Errand(dataclasses.replace(task, waits=True, deadline_s=rng.uniform(0.1, 1.0)), FAILED)
    return Errand(dataclasses.replace(task, waits=True), CANCELLED, give_up_s=rng.uniform(0.0, 0.5))


def _once(rng: random.Random, known: Sequence[Known]) -> Errand:
    task = Submission("sleep", {"seconds": rng.uniform(0.0, 0.1)}, at_most_once=True)
    return Errand(task, frozenset({State.DONE, State.UNKNOWN}))


def _long(rng: random.Random) -> Submission:
    match rng.randrange(3):
        case 0:
            return Submission("sleep", {"seconds": LONG_S})
        case 1:
            return _call("nap", [LONG_S])
    return Submission("command", {"argv": ["sleep", f"{LONG_S:g}"]})


def _call(function: str, arguments: list[object]) -> Submission:
    return Submission(f"{soak_functions.MODULE}:{function}", arguments)


WEIGHTS: dict[Draw, int] = {
    _echo: 27,
    _large: 3,
    _after: 10,
    _sleep: 15,
    _work: 10,
    _function: 10,
    _command: 5,
    _late: 3,
    _given_up: 5,
    _with_deadline: 5,
    _for_nobody: 3,
    _once: 3,
    _after_a_failure: 1,
}


def draw(rng: random.Random, known: Sequence[Known]) -> Errand:
    """One more; `known` may be handed on."""
    [make] = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    if make is _after and not known:
        make = _echo
    errand = make(rng, known)
    task = errand.submission
    if rng.random() < 0.3:
        task = dataclasses.replace(task, priority=rng.randint(-5, 5), reward=rng.choice((0.0, 1.0, 10.0)))
    if make in (_echo, _sleep, _work, _once):
        task = _with_needs(rng, task)
    if make is _echo and rng.random() < 0.1:
        task = dataclasses.replace(task, replicas=2, need=(), only=())
    return dataclasses.replace(errand, submission=task)


def _with_needs(rng: random.Random, task: Submission) -> Submission:
    match rng.randrange(8):
        case 0:
            return dataclasses.replace(task, need=["gpu", f"{AMOUNT}={rng.randint(1, 8)}GiB"])
        case 1:
            return dataclasses.replace(task, need=[rng.choice(TAGS)])
        case 2:
            return dataclasses.replace(task, only=[rng.choice(TAGS[1:])])
    return task
