"""Score schemes of the consensus-based bundle algorithm: what one more task is worth to an agent, given what it has.

Sources: H.-L. Choi, L. Brunet, J. How, Consensus-Based Decentralized Auctions for Robust Task Allocation, IEEE T-RO 25,
2009 (diminishing marginal gain, time-discounted rewards); L. Johnson, H.-L. Choi, S. Ponda, J. How, Allowing
Non-Submodular Score Functions in Distributed Task Allocation, CDC 2012 (warped bids).

A scheme has *diminishing marginal gain* (DMG) if no task is worth more in a longer path than in a part of it:
c_j(p) >= c_j(p ⊕ k). With it the bundle algorithm reaches what the sequential greedy algorithm reaches, and so at least
half of the optimum. A scheme without it (`warped`) bids, for each task, no more than for the tasks before it in the
bundle; then it converges all the same.

Scores are higher-is-better; a task that is worth 0 or less is not bid for. Tasks go by their places in the session.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers: TypeAlias = NDArray[np.float64]


class Scores(typing.Protocol):
    """What tasks are worth to one agent."""

    @property
    def warped(self) -> bool:
        """It lacks diminishing marginal gain, so its bids are warped."""

    def marginals(self, path: Sequence[int]) -> Numbers:
        """(tasks,): what each task adds to this path, at its best place there; of tasks in the path, anything."""

    def place(self, path: Sequence[int], task: int) -> int:
        """Where in the path it adds most."""


class Additive:
    """Each task is worth the same whatever else the agent has: for assignments, costs turned round. DMG."""

    warped = False

    def __init__(self, worth: ArrayLike) -> None:
        """`worth` (tasks,)."""
        self._worth = np.asarray(worth, np.float64)

    def marginals(self, path: Sequence[int]) -> Numbers:
        return self._worth

    def place(self, path: Sequence[int], task: int) -> int:
        return len(path)


class EarliestFinish:
    """For makespans: √work_j / (load + time_j), load what the agent's path takes already. DMG.

    `times` (tasks,) are the seconds of each task here, inf where it cannot run; `works` (tasks,) its size, alike for
    all agents: the nominal seconds, or the geometric mean of all its times. At first a task goes where it runs fast
    for its size; as loads grow the large tasks go first, and to where they end soonest. The root keeps the balance:
    on the twelve instances of Braun et al. (2001) the mean ratio to the best-known makespan is 1.09; with the power 1
    it is 1.11, and 1.14 with 0, which is min-min.
    """

    warped = False

    def __init__(self, times: ArrayLike, works: ArrayLike) -> None:
        self._times = np.asarray(times, np.float64)
        self._sizes = np.sqrt(np.asarray(works, np.float64))

    def marginals(self, path: Sequence[int]) -> Numbers:
        load = float(self._times[list(path)].sum()) if path else 0.0
        return self._sizes / (load + self._times)

    def place(self, path: Sequence[int], task: int) -> int:
        return len(path)


class ByPath:
    """Any worth of a whole path: the marginal gain of a task is that at its best place (Choi et al. 2009, eq. 5).

    `worth` of a path; `tasks`: how many there are. `warped` unless it is known to have DMG.
    """

    def __init__(self, worth: Callable[[Sequence[int]], float], tasks: int, *, warped: bool) -> None:
        self._worth = worth
        self._tasks = tasks
        self.warped = warped

    def marginals(self, path: Sequence[int]) -> Numbers:
        before = self._worth(path)
        gains = [self._best(path, task)[0] - before if task not in path else 0.0 for task in range(self._tasks)]
        return np.asarray(gains, np.float64)

    def place(self, path: Sequence[int], task: int) -> int:
        return self._best(path, task)[1]

    def _best(self, path: Sequence[int], task: int) -> tuple[float, int]:
        """The worth with it, and the first of the best places for it."""
        worths = [self._worth([*path[:place], task, *path[place:]]) for place in range(len(path) + 1)]
        best = max(worths)
        return best, worths.index(best)


def time_discounted(worth: Sequence[float], seconds: Callable[[int | None, int], float], discount: float) -> ByPath:
    """Σ discount^τ_j · worth_j, τ_j the second at which the path reaches j (Choi et al. 2009, eq. 11).

    `seconds(from, to)` is the way from one task (None: from where the agent is) to another. Often taken to have DMG,
    and has it only almost: what is inserted before others delays them, and with another path it may delay less. So it
    is warped.
    """

    def total(path: Sequence[int]) -> float:
        at, reached, sum_ = None, 0.0, 0.0
        for task in path:
            reached += seconds(at, task)
            at = task
            sum_ += discount**reached * worth[task]
        return sum_

    return ByPath(total, len(worth), warped=True)
