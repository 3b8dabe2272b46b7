"""How tasks ended, for scripts and for people: the JSON that scripts rely on, the sentence, and the exit code.

done -> 0     failed, cancelled, unknown -> 1     unplaced, and nothing worse -> 3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from ..agents.payload import unpack
from ..protocols.core import ENDED, Outcome, State
from .problems import Exit, Problem
from .spool import SPOOL


class ResultLine(msgspec.Struct, frozen=True):
    """What `parley result --json` prints; `value` of a task that failed is what it left, if anything."""

    task: str
    state: State
    value: object
    node: str | None
    epoch: int
    attempts: int
    seconds: float
    error: str | None


def result_line(outcome: Outcome) -> ResultLine:
    return ResultLine(
        outcome.task,
        outcome.state,
        unpack(outcome.value, SPOOL) if outcome.value else None,
        outcome.node,
        outcome.epoch,
        outcome.attempts,
        outcome.seconds,
        outcome.error or None,
    )


def result(outcome: Outcome) -> object:
    """The value of a task that is done; raises Problem with its error otherwise."""
    if outcome.state is State.DONE:
        return unpack(outcome.value, SPOOL)
    raise failure(outcome, outcome.error)


def failure(outcome: Outcome, sentence: str) -> Problem:
    """A task that is not done, as a Problem with its exit code."""
    return Problem(sentence, Exit.UNPLACED if outcome.state is State.UNPLACED else Exit.FAILURE)


def verdict(states: Mapping[State, int], first_error: str) -> Problem | None:
    """Of many tasks that have ended; None: all are done. `first_error` is of the first that is not."""
    bad = {state: states[state] for state in sorted(ENDED - {State.DONE}) if states.get(state)}
    if not bad:
        return None
    total = sum(states.values())
    code = Exit.UNPLACED if set(bad) == {State.UNPLACED} else Exit.FAILURE
    if total == 1:
        return Problem(first_error, code)
    counts = " and ".join(f"{number:,} {state}" for state, number in bad.items())
    return Problem(f"of {total:,} tasks {counts}; the first: {first_error}", code)


def told(states: Mapping[State, int]) -> str:
    """How many stand where.

    >>> told({State.DONE: 3, State.RUNNING: 1})
    '1 running, 3 done'
    """
    return ", ".join(f"{states[state]:,} {state}" for state in State if states.get(state))


def together(counts: Iterable[Mapping[State, int]]) -> Counter[State]:
    """Of several answers."""
    total: Counter[State] = Counter()
    for states in counts:
        total.update(states)
    return total
