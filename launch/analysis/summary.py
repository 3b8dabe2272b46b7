"""What became of all the tasks of a run, in a few numbers: the end of a demonstration, and its proof.

`lost` and `committed_twice` should be zero whatever was killed meanwhile; `reassigned` counts what a dead node, a dead
worker or an ended lease has cost. Everything is read back from the logs, nothing is believed.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from ...protocols.batch_words import BatchDivided
from ...protocols.contract_events import TaskCommitted, TaskEnded, TaskReassigned, TaskStarted
from ...protocols.core import State
from ...protocols.performatives import TRANSIENT
from ...protocols.service import TaskSubmitted
from .run import Run, open_run, understand

COUNTED = frozenset(
    {TaskSubmitted.name, TaskStarted.name, TaskEnded.name, TaskReassigned.name, TaskCommitted.name, "node.stop"}
    | {BatchDivided.name}
)


class Attempt(msgspec.Struct, frozen=True):
    """One attempt that was done, and the seconds it held a slot."""

    task: str
    epoch: int
    node: str
    seconds: float


class Share(msgspec.Struct, frozen=True):
    """What one node did: attempts done, and the seconds its slots were held for them."""

    tasks: int
    busy_s: float


class Divided(msgspec.Struct, frozen=True):
    """A batch that a session has divided: the makespan that it came to, and what no division can beat, in seconds from
    when its members opened their columns; it is within `certificate` of the optimum."""

    desk: str
    tasks: int
    members: int
    rounds: int | None
    value_s: float
    bound_s: float
    certificate: float | None


class Summary(msgspec.Struct, frozen=True):
    """A run in numbers.

    `lost` were submitted and never committed, and no client was told of their end; `committed_twice` have commits that
    differ; `reassigned` were awarded again after an attempt was lost (a winner that merely declined, busy or leaving,
    does not count). `makespan_s` is from the first start to the last end, by the nodes' monotonic clocks: it holds for
    the nodes of one machine. `attempts` are those that were committed, one per task done; `unfinished` the nodes whose
    log has no end.
    """

    tasks: int
    done: int
    failed: int
    unplaced: int
    lost: int
    committed_twice: int
    reassigned: int
    makespan_s: float
    nodes: dict[str, Share]
    attempts: tuple[Attempt, ...]
    unfinished: tuple[str, ...]
    notes: tuple[str, ...]
    batches: tuple[Divided, ...] = ()


def summarise(path: Path, told: Collection[str] = ()) -> Summary:
    """The run in this folder in numbers. Raises RunError.

    `told`: the tasks of which a client has heard that they are done. With `kill -9` the last tenth of a second of a log
    is lost, and with it perhaps the one line that tells how a task ended.
    """
    return _Tally(open_run(path), told).summary()


class _Tally:
    def __init__(self, run: Run, told: Collection[str]) -> None:
        self._run = run
        self._told = told
        self._submitted: set[str] = set()
        self._commits: dict[str, list[TaskCommitted]] = {}
        self._reassigned: set[str] = set()
        self._batches: dict[str, BatchDivided] = {}
        self._done: list[Attempt] = []
        self._started: float | None = None
        self._ended = 0.0
        self._last: dict[str, str] = {}  # the last event of each node
        for head, line in run.heads():
            self._last[head.node] = head.event
            if head.event not in COUNTED:
                continue
            match understand(head, line):
                case BatchDivided() as batch:
                    self._batches.setdefault(batch.session, batch)
                case TaskSubmitted(task=task):
                    self._submitted.add(task)
                case TaskStarted():
                    self._started = head.mono if self._started is None else min(head.mono, self._started)
                case TaskEnded() as end:
                    self._ended = max(head.mono, self._ended)
                    if end.reason is None:
                        self._done.append(Attempt(end.task, end.epoch, head.node, end.seconds))
                case TaskReassigned(task=task, reason=reason) if reason not in TRANSIENT:
                    self._reassigned.add(task)
                case TaskCommitted() as commit:
                    self._commits.setdefault(commit.task, []).append(commit)

    def summary(self) -> Summary:
        states = [commits[0].state for commits in self._commits.values()]
        heard = set(self._told) - self._commits.keys()
        return Summary(
            tasks=len(self._submitted | self._commits.keys() | heard),
            done=states.count(State.DONE) + len(heard),
            failed=states.count(State.FAILED),
            unplaced=states.count(State.UNPLACED),
            lost=len(self._submitted - self._commits.keys() - heard),
            committed_twice=sum(1 for commits in self._commits.values() if len(set(map(_end, commits))) > 1),
            reassigned=len(self._reassigned),
            makespan_s=0.0 if self._started is None else max(self._ended - self._started, 0.0),
            nodes=self._shares(),
            attempts=tuple(attempt for attempt in self._done if self._committed(attempt)),
            unfinished=tuple(sorted(node for node, event in self._last.items() if event != "node.stop")),
            notes=tuple(self._run.notes),
            batches=tuple(map(_batch, self._batches.values())),
        )

    def _shares(self) -> dict[str, Share]:
        seconds: dict[str, list[float]] = {node: [] for node in sorted(self._last)}
        for attempt in self._done:
            seconds[attempt.node].append(attempt.seconds)
        return {node: Share(len(each), sum(each)) for node, each in seconds.items()}

    def _committed(self, attempt: Attempt) -> bool:
        commits = self._commits.get(attempt.task)
        if commits is None:
            return attempt.task in self._told
        return any(commit.epoch == attempt.epoch and commit.state is State.DONE for commit in commits)


def _batch(told: BatchDivided) -> Divided:
    tasks = sum(len(share.tasks) for share in told.shares)
    return Divided(told.peer, tasks, len(told.shares), told.rounds, told.value, told.bound, told.certificate)


def _end(commit: TaskCommitted) -> tuple[int, State, str | None]:
    """Whoever finds a task decided after its agent has died tells the same end once more."""
    return commit.epoch, commit.state, commit.peer
