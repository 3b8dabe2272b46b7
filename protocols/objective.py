"""What a good allocation is: the numbers by which a finished or a planned one is judged, and how good one could be.

Loads, durations and bounds are seconds, works are seconds on a node of speed 1, speeds are without unit; no entry may
be negative or NaN. Every function raises ValueError where its number would mean nothing: nothing to judge, shapes that
do not fit together, a division by nothing.

The classic worked example: three tasks of 2, 5 and 3 s with a communication delay of 1 s each have the completion time
(2+1) + (5+1) + (3+1) = 13, and spread over three nodes they make an average load of 10/3 = 3.33. (The classic text
prints 3.67 there; that is a slip.)

    allocation -> loads -> makespan, average load, imbalance, fairness, utilisation
    instance   ----------> lower bounds: no allocation whatever ends sooner

Invariant: bound <= makespan for every allocation of the same instance, and the order in which nodes or tasks are named
changes nothing, both up to rounding. These numbers are for people and benchmarks; no protocol decides by them. What
judges rows of numbers does without numpy, so that an agent may say how good its own work was (`reckoning.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

# --- of an allocation ------------------------------------------------------------------------------------------------


def node_loads(times: ArrayLike, owners: Sequence[int]) -> list[float]:
    """Seconds each node is busy: load_i = Σ p_ij over the tasks j with owners_j = i.

    `times` (nodes, tasks) is the run time p_ij of task j on node i, inf where it cannot run; `owners` (tasks,) is the
    node of each task. A task on a node that cannot run it makes that load inf.
    """
    matrix = _matrix(times, "run times")
    nodes, tasks = matrix.shape
    if len(owners) != tasks:
        raise ValueError(f"{len(owners)} owners for {tasks} tasks")
    if not all(0 <= owner < nodes for owner in owners):
        raise ValueError(f"owners must be nodes 0 to {nodes - 1}")
    loads = [0.0] * nodes
    for task, owner in enumerate(owners):
        loads[owner] += float(matrix[owner, task])
    return loads


def makespan(loads: Sequence[float]) -> float:
    """C_max = max_i load_i: when the last node is done, in seconds (Pinedo, Scheduling, ch. 2)."""
    return max(_numbers(loads, "loads"))


def completion_time(durations: Sequence[float], delays: float | Sequence[float] = 0.0) -> float:
    """Σ_j (duration_j + delay_j): run time and communication delay of all tasks together, in seconds.

    `delays` is one delay that each task has, or one per task. Tasks of 2, 5 and 3 with a delay of 1 each: 13.
    """
    ran = _numbers(durations, "durations")
    waited = _numbers([delays] * len(ran) if isinstance(delays, float | int) else delays, "delays")
    if len(ran) != len(waited):
        raise ValueError(f"{len(waited)} delays for {len(ran)} durations")
    return math.fsum(ran) + math.fsum(waited)


def average_load(loads: Sequence[float]) -> float:
    """Σ_i load_i / m over the m nodes, in seconds. Loads of 2, 5 and 3: 3.33."""
    return math.fsum(_numbers(loads, "loads")) / len(loads)


def imbalance(loads: Sequence[float]) -> float:
    """max_i load_i / mean load: 1 if all are busy alike, m if one of m nodes does everything."""
    return makespan(loads) / _positive(average_load(loads), "the average load")


def fairness(loads: Sequence[float]) -> float:
    """Jain's index (Σx)² / (m Σx²): 1 if all are busy alike, 1/m if one of m nodes does everything.

    R. Jain, D.-M. Chiu, W. Hawe, A Quantitative Measure of Fairness and Discrimination for Resource Allocation in
    Shared Computer Systems, DEC TR-301, 1984.
    """
    largest = _positive(makespan(loads), "the largest load")
    shares = [load / largest for load in loads]
    return math.fsum(shares) ** 2 / (len(shares) * math.fsum([share**2 for share in shares]))


def weighted_objective(times: Sequence[Sequence[float]], weights: Sequence[float], threshold: float) -> float:
    """Σ_t max(Σ_i w_i·t_i, C): weighted node time of every step, of which none counts less than the threshold.

    `times` (steps, nodes) is the time t_i that node i spends in step t, `weights` (nodes,) what a second of each node
    is worth, `threshold` C the seconds of communication that a step costs in any case. An allocation is better the
    smaller this is.
    """
    worth = _numbers(weights, "weights")
    (least,) = _numbers([threshold], "threshold")
    if not times:
        raise ValueError("times must be a table of at least one row and one column")
    total = []
    for step in times:
        spent = _numbers(step, "times")
        if len(spent) != len(worth):
            raise ValueError(f"{len(worth)} weights for {len(spent)} nodes")
        total.append(max(math.fsum([each * weight for each, weight in zip(spent, worth, strict=True)]), least))
    return math.fsum(total)


def utilisation(busy: Sequence[float], span: float) -> float:
    """Σ busy_s / (slots · span): the share of the time from start to end in which slots had work, 0 to 1.

    `busy` (slots,) is seconds per slot, so a node of two slots is named twice; `span` is seconds from start to end.
    """
    worked = _numbers(busy, "busy seconds")
    if max(worked) > _positive(span, "the span") * (1 + 1e-9):
        raise ValueError(f"a slot was busy for {max(worked)} s of {span} s")
    return min(1.0, math.fsum(worked) / span / len(worked))


def per_task(total: int, tasks: int) -> float:
    """Messages, or bytes, that one task cost on average."""
    if total < 0:
        raise ValueError("a total cannot be negative")
    return total / _positive(tasks, "the number of tasks")


# --- of an instance: no allocation ends before these -----------------------------------------------------------------


def work_bound(works: Sequence[float], speeds: Sequence[float]) -> float:
    """Σ_j work_j / Σ_i speed_i: all nodes busy to the last moment (R. Graham, Bounds on Multiprocessing Timing
    Anomalies, 1969; for unequal speeds Pinedo, ch. 5)."""
    return math.fsum(_numbers(works, "works")) / _speed_total(speeds)


def longest_bound(works: Sequence[float], speeds: Sequence[float]) -> float:
    """max_j work_j / max_i speed_i: the longest task, on the fastest node (Graham 1969)."""
    _speed_total(speeds)
    return max(_numbers(works, "works")) / max(speeds)


def prefix_bound(works: Sequence[float], speeds: Sequence[float]) -> float:
    """max over k of (sum of the k largest works) / (sum of the k largest speeds), and Σwork / Σspeed.

    k tasks can use k nodes at most, at best the fastest. Never less than `work_bound` and `longest_bound`, and exactly
    the optimum if tasks may be interrupted and moved (E. Horvath, S. Lam, R. Sethi, A Level Algorithm for Preemptive
    Scheduling, J. ACM 24, 1977).
    """
    work = accumulate(sorted(_numbers(works, "works"), reverse=True))
    whole = work_bound(works, speeds)
    speed = accumulate(sorted(speeds, reverse=True))
    prefixes = [most / fastest for most, fastest in zip(work, speed, strict=False)]
    return max(whole, longest_bound(works, speeds), *prefixes)


def run_time_bound(times: ArrayLike) -> float:
    """max(Σ_j min_i p_ij / m, max_j min_i p_ij): every task where it runs shortest, shared out evenly over m nodes, and
    the task that takes longest even there.

    `times` (nodes, tasks) is the run time p_ij of task j on node i, inf where it cannot run; a task that runs nowhere
    is an error. For unrelated machines (Pinedo, ch. 5).
    """
    matrix = _matrix(times, "run times")
    shortest = [float(seconds) for seconds in matrix.min(axis=0)]
    if math.inf in shortest:
        raise ValueError(f"no node can run task {shortest.index(math.inf)}")
    return max(math.fsum(shortest) / len(matrix), max(shortest))


# --- what is let in --------------------------------------------------------------------------------------------------


def _numbers(values: Sequence[float], name: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except TypeError:
        raise ValueError(f"{name} must be a row of numbers") from None
    if not numbers:
        raise ValueError(f"{name} must be a row of at least one number")
    if not all(0.0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name} must be finite and not negative")
    return numbers


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    import numpy as np

    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"{name} must be a table of at least one row and one column")
    if not (matrix >= 0).all():
        raise ValueError(f"{name} must not be negative or NaN")
    return matrix


def _positive(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive")
    return value


def _speed_total(speeds: Sequence[float]) -> float:
    if not all(speed > 0.0 for speed in _numbers(speeds, "speeds")):
        raise ValueError("speeds must be positive")
    return math.fsum(speeds)
