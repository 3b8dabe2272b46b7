"""`parley plan --file`: how all tasks of a file would be divided, and how far from the optimum that is at most.

    AskDivision(tasks) -> DivisionTold(owners, value, bound) -> what each node would get, and the certificate

Only what may be divided by time is asked about (`batches.divisible`), and only what could begin now; how many others
there are is told. What no node takes is told with the words of those who decline it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..protocols.batch_words import BATCH_TASKS_MAX, Mode
from ..protocols.batches import divisible
from ..protocols.core import Task
from ..protocols.requests import DivisionTold, Follow
from .analysis.words import clean, duration, listed, within
from .desk import connected
from .lines import Lines
from .planning import unplaced
from .problems import Exit, Problem
from .task_file import submissions
from .task_options import Terms

BAR_MAX = 30
LONGEST_SHOWN = 3


class NodeShare(msgspec.Struct, frozen=True):
    """What a node would get: names of tasks, the longest first, and the seconds of work that they are."""

    node: str
    tasks: tuple[str, ...]
    work_s: float


class DivisionPlan(msgspec.Struct, frozen=True):
    """What `parley plan --file --json` prints: all `tasks` would be done in `value_s`, no division does them in less
    than `bound_s`, so this one is within `certificate` of the optimum. `unplaced` are those that no node takes,
    `others` counts those that are not divided with them."""

    tasks: int
    value_s: float
    bound_s: float
    certificate: float | None
    mode: str
    rounds: int
    nodes: tuple[NodeShare, ...]
    unplaced: tuple[str, ...]
    others: int


async def plan_file(agents: Sequence[str], path: str, terms: Terms) -> tuple[DivisionPlan, str | None]:
    """The plan, and why some tasks can be run by no node, in one sentence; None: all can. Raises Problem."""
    names, tasks, others = await _read(path, terms)
    async with connected(agents) as agent:
        told = await agent.division(tasks)
        refused = [place for place, owner in enumerate(told.owners) if owner is None]
        why = unplaced(await agent.plan(tasks[refused[0]])) if refused else None
    sentence = f"{names[refused[0]]}: {why or 'no node takes it now'}" if refused else None
    if len(refused) > 1:
        sentence = f"no node takes {len(refused)} of {len(tasks)} tasks, the first of them {sentence}"
    return _plan(names, told, others), sentence


async def _read(path: str, terms: Terms) -> tuple[list[str], list[Task], int]:
    """Names and tasks of those that would be divided, and how many others there are."""
    names: list[str] = []
    tasks: list[Task] = []
    others = 0
    file = Lines(path)
    try:
        async for submission in submissions(file, terms, Follow.NOTHING):
            for submit in submission.submits():
                if submit.after or not divisible(submit.task):
                    others += 1
                    continue
                names.append(submit.label or f"line {file.number}")
                tasks.append(submit.task)
                if len(tasks) > BATCH_TASKS_MAX:
                    raise Problem(f"a batch has {BATCH_TASKS_MAX:,} tasks at most: plan fewer of {path}", Exit.USAGE)
    finally:
        file.close()
    if not tasks:
        raise Problem(f"{path} has no task that would be divided with others", Exit.USAGE)
    return names, tasks, others


def _plan(names: Sequence[str], told: DivisionTold, others: int) -> DivisionPlan:
    from ..protocols.dual_bound import certificate

    shares = []
    for place, node in enumerate(told.nodes):
        mine = [(seconds, task) for task, seconds in enumerate(told.seconds) if told.owners[task] == place]
        mine.sort(key=lambda one: (-one[0], one[1]))
        work_s = sum([seconds for seconds, _ in mine])
        shares.append(NodeShare(node, tuple([names[task] for _, task in mine]), work_s))
    return DivisionPlan(
        len(names),
        told.value,
        told.bound,
        certificate(told.value, told.bound),
        told.mode,
        told.rounds,
        tuple(shares),
        tuple([names[task] for task, owner in enumerate(told.owners) if owner is None]),
        others,
    )


def drawn(plan: DivisionPlan) -> str:
    """For people: what all would take, how good that is, and a line for each node."""
    placed = plan.tasks - len(plan.unplaced)
    steps = "rounds" if plan.mode == Mode.ROUNDS else "periods of gossip"
    proof = "" if plan.certificate is None else f": {within(plan.certificate)}"
    lines = [
        f"Plan for {_many(placed, 'task')}, divided by {_many(len(plan.nodes), 'node')} in {plan.rounds} {steps}",
        f"  done in {duration(plan.value_s)}; no division is done in less than {duration(plan.bound_s)}{proof}",
        "",
    ]
    width = max(len(clean(share.node)) for share in plan.nodes)
    most = max(share.work_s for share in plan.nodes) or 1.0
    for share in plan.nodes:
        bar = "█" * round(share.work_s / most * BAR_MAX)
        longest = f"  {listed([clean(task) for task in share.tasks], LONGEST_SHOWN)}" if share.tasks else ""
        columns = f"{len(share.tasks):>6} {duration(share.work_s):>9}  {bar:<{BAR_MAX}}"
        lines.append(f"  {clean(share.node):<{width}} {columns}{longest}".rstrip())
    if plan.others:
        each = "1 other is called by itself" if plan.others == 1 else f"{plan.others} others are called one by one"
        lines += ["", f"{each}: what comes after others, has a deadline, takes amounts or is a replica is not divided"]
    return "\n".join(lines)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
