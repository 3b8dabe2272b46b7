"""What happened when, for pictures: one pass over the logs of a run gives attempts, tasks, awards, loads, members.

    task.start ... task.end in one node's log           an Attempt, in a slot of that node; member.start likewise
    task.submit, auction.award, task.lost, task.commit  a TaskTold
    node.start, node.load, node.stop, peer.state        a NodeTold, with the moments at which others knew of it

Times are seconds since the first line of the run, by the wall clocks of the nodes; between machines these may differ by
as much as they are set apart. An attempt without an end lasts as long as its node did: to the last it wrote or, if it
was killed, to when the first other one noticed.

Nothing but what is told here is kept of a line, so that a run of a million lines fits into a few hundred megabytes.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...agents.node_events import NodeLoad, NodeStarted, NodeStopped
from ...protocols.batch_words import BatchColumn, BatchDivided, BatchMoved, TradeMet
from ...protocols.contract_events import (
    AuctionAwarded,
    AuctionOpened,
    TaskCommitted,
    TaskEnded,
    TaskLost,
    TaskStarted,
)
from ...protocols.core import Event, State
from ...protocols.gang_words import MemberEnded, MemberStarted
from ...protocols.performatives import TRANSIENT
from ...protocols.service import TaskSubmitted
from ...protocols.swim_words import PeerState, Presence
from .logfile import Head
from .run import Run, open_run, understand

COUNTED_ONLY = frozenset({"bid.submit", "bid.decline", "task.accept", "task.hold", "task.reassign"})
GONE = (Presence.SUSPECT, Presence.DEAD)
CUT = "cut"
"""Why an attempt ended that nobody ended: its node was killed, or its log ends."""


class Attempt(msgspec.Struct, gc=False):
    """One attempt on its node; `reason` is "" if it was done, `slot` counts from 0, `seconds` is what its executor says
    that it took: no more than from start to end, which is when it was told to begin and was heard to have ended."""

    task: str
    epoch: int
    node: str
    kind: str
    start_s: float
    end_s: float
    reason: str
    slot: int = 0
    seconds: float = 0.0
    rank: int | None = None  # of a gang's member


class AwardTold(msgspec.Struct, gc=False):
    """An award in brief; `bids` are the costs, by node."""

    task: str
    epoch: int
    auction: str
    initiator: str
    winner: str
    at_s: float
    cost: float
    runner_up: str | None
    margin: float | None
    rule: str
    bids: dict[str, float]
    declined: int
    silent: int


class TaskTold(msgspec.Struct, gc=False):
    """What became of a task. `lost` counts attempts that came to nothing, `ended_s` is None while it has no end."""

    task: str
    kind: str = ""
    initiator: str = ""
    work_s: float | None = None
    payload_bytes: int = 0
    submitted_s: float | None = None
    ended_s: float | None = None
    state: str = "unknown"
    node: str | None = None
    epoch: int = 0
    attempts: int = 0
    lost: int = 0
    error: str = ""
    stamp: int = 0  # of the commit that counts, the first
    place: int = 0  # in the order in which tasks were first told of


class NodeTold(msgspec.Struct):
    """A node as its own log tells it, and when others noticed its end."""

    node: str
    slots: int = 1
    speed: float = 1.0
    version: str = ""
    starts_s: list[float] = msgspec.field(default_factory=list)
    stopped_s: float | None = None
    killed_s: float | None = None
    first_s: float | None = None
    last_s: float = 0.0
    loads: list[tuple[float, int, int, float]] = msgspec.field(default_factory=list)
    """(when, running, waiting, seconds queued), once a second."""
    sent: list[tuple[int, int]] = msgspec.field(default_factory=lambda: [(0, 0)])
    """Messages and bytes, of each of its lives."""


class BatchTold(msgspec.Struct, gc=False):
    """A batch that a session has divided, within `certificate` of the optimum; `traded` counts tasks that two nodes
    have exchanged afterwards, `moved` those that went elsewhere since their node was gone, or gave them back."""

    session: str
    at_s: float
    desk: str
    tasks: int
    members: int
    mode: str
    rounds: int | None
    seconds: float
    value_s: float
    bound_s: float
    certificate: float | None
    traded: int = 0
    moved: int = 0


class Trade(msgspec.Struct, gc=False):
    """What was to run on `origin` was to run on `to` from then on; `origin` empty: it was gone, or gave it back."""

    at_s: float
    task: str
    origin: str
    to: str


class Change(msgspec.Struct, frozen=True, gc=False):
    """`observer` came to think so of `peer`."""

    at_s: float
    observer: str
    peer: str
    state: str
    reason: str


class Timeline(msgspec.Struct):
    """A run as it went. `began` is seconds since the epoch, `span_s` from the first line to the last; `opened` is when
    each call for proposals went out, `counts` how many lines there are of each event, and what they add up to."""

    path: str
    began: float
    span_s: float
    lines: int
    nodes: dict[str, NodeTold]
    tasks: dict[str, TaskTold]
    attempts: list[Attempt]
    awards: list[AwardTold]
    opened: dict[str, float]
    changes: list[Change]
    trades: list[Trade]
    batches: list[BatchTold]
    counts: Counter[str]
    notes: list[str]

    @property
    def committed(self) -> list[Attempt]:
        """The attempts that count: one for each task that is done, or for each member of a gang that is."""
        return [
            attempt
            for attempt in self.attempts
            if not attempt.reason
            and (task := self.tasks[attempt.task]).state == State.DONE
            and task.epoch == attempt.epoch
            and (attempt.rank is not None or task.node == attempt.node)
        ]


def natural(name: str) -> list[tuple[int, str]]:
    """By which n2 comes before n10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name) if part]


def timeline(path: Path) -> Timeline:
    """Read the run in this folder. Raises RunError."""
    reading = _Reading(open_run(path))
    return reading.timeline()


class _Reading:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._lines = 0
        self._began: float | None = None
        self._nodes: dict[str, NodeTold] = {}
        self._tasks: dict[str, TaskTold] = {}
        self._attempts: list[Attempt] = []
        self._under_way: dict[str, dict[tuple[str, int, int | None], Attempt]] = {}
        self._awards: list[AwardTold] = []
        self._opened: dict[str, float] = {}
        self._opened_here: dict[tuple[str, str], float] = {}  # sessions, by their members
        self._changes: list[Change] = []
        self._batches: dict[str, BatchTold] = {}  # by session
        self._trades: list[Trade] = []
        self._met: Counter[str] = Counter()  # tasks that were traded, by session
        self._moved: Counter[str] = Counter()
        self._lost: dict[tuple[str, int, str], float] = {}  # when, of each attempt at its node
        self._counts: Counter[str] = Counter()

    def timeline(self) -> Timeline:
        for head, line in self._run.heads():
            self._lines += 1
            self._counts[head.event] += 1
            at = head.ts.timestamp()
            if self._began is None or at < self._began:
                self._began = at
            node = self._node(head.node)
            if node.first_s is None:
                node.first_s = at
            node.last_s = max(node.last_s, at)
            if head.event in COUNTED_ONLY:
                continue
            event = understand(head, line)
            if event is not None:
                self._note(head, event, at, node)
        began = self._began or 0.0
        self._end(began)
        return Timeline(
            path=str(self._run.path),
            began=began,
            span_s=max(node.last_s for node in self._nodes.values()),
            lines=self._lines,
            nodes={name: self._nodes[name] for name in sorted(self._nodes, key=natural)},
            tasks=self._tasks,
            attempts=self._attempts,
            awards=self._awards,
            opened=self._opened,
            changes=self._changes,
            trades=sorted(self._trades, key=lambda trade: trade.at_s),
            batches=sorted(self._batches.values(), key=lambda batch: batch.at_s),
            counts=self._counts,
            notes=self._run.notes,
        )

    def _node(self, name: str) -> NodeTold:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = NodeTold(name)
            self._under_way[name] = {}
        return node

    def _task(self, name: str) -> TaskTold:
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = TaskTold(name, place=len(self._tasks))
        return task

    def _note(self, head: Head, event: Event, at: float, node: NodeTold) -> None:
        match event:
            case TaskStarted():
                if not event.members:  # else it is led from here, and takes no slot
                    self._start(event.task, event.kind, event.epoch, None, at, node)
            case MemberStarted():
                self._start(event.task, event.kind, event.epoch, event.rank, at, node)
            case TaskEnded() | MemberEnded():
                rank = event.rank if isinstance(event, MemberEnded) else None
                attempt = self._under_way[node.node].pop((event.task, event.epoch, rank), None)
                if attempt is not None:
                    attempt.end_s = max(at, attempt.start_s)  # a wall clock may be set back
                    attempt.reason = str(event.reason or "")
                    attempt.seconds = event.seconds
            case TaskCommitted():
                self._commit(event, at, head.hlc)
            case AuctionAwarded():
                self._award(event, at, node)
            case TaskSubmitted():
                task = self._task(event.task)
                task.kind, task.work_s, task.payload_bytes = event.kind, event.work, event.payload_bytes
                task.initiator, task.submitted_s = node.node, at
                if task.state == "unknown":
                    task.state = State.OPEN
            case TaskLost():
                if event.reason not in TRANSIENT:
                    self._task(event.task).lost += 1
                    self._lost.setdefault((event.task, event.epoch, event.peer), at)
            case NodeLoad():
                node.loads.append((at, event.running, event.waiting, event.queued_s))
                node.sent[-1] = event.messages, event.bytes
            case NodeStarted():
                self._cut(node)
                node.slots, node.speed, node.version = event.slots, event.speed, event.version
                node.starts_s.append(at)
                node.sent.append((0, 0))
                node.stopped_s = None
            case NodeStopped():
                node.stopped_s = at
            case BatchColumn():
                self._opened_here[event.session, node.node] = at
            case BatchDivided():
                self._divided(event, at, node.node)
            case TradeMet():
                self._met[event.session] += len(event.tasks)
                for name, to in zip(event.tasks, event.to, strict=False):
                    self._trades.append(Trade(at, name, event.other if to == event.one else event.one, to))
            case BatchMoved():
                self._moved[event.session] += 1
                self._trades.append(Trade(at, event.task, "", event.peer))
            case PeerState():
                self._changes.append(Change(at, node.node, event.peer, str(event.state), event.reason))
            case AuctionOpened():
                self._opened[event.auction] = at
                self._counts["tasks called"] += len(event.tasks)
                self._counts["nodes asked"] += len(event.invitees)

    def _divided(self, event: BatchDivided, at: float, node: str) -> None:
        """All members say the same; the first of them is told."""
        known = self._batches.get(event.session)
        if known is not None and known.at_s <= at:
            return
        self._batches[event.session] = BatchTold(
            event.session,
            at,
            event.peer,
            sum([len(share.tasks) for share in event.shares]),
            len(event.shares),
            str(event.mode),
            event.rounds,
            at - self._opened_here.get((event.session, node), at),
            event.value,
            event.bound,
            event.certificate,
        )

    def _start(self, name: str, kind: str, epoch: int, rank: int | None, at: float, node: NodeTold) -> None:
        attempt = Attempt(name, epoch, node.node, kind, at, at, CUT, rank=rank)
        self._attempts.append(attempt)
        self._under_way[node.node][name, epoch, rank] = attempt
        task = self._task(name)
        task.kind = task.kind or kind

    def _cut(self, node: NodeTold) -> None:
        """It was started again: what ran before ended at the latest with the last load it told before."""
        for attempt in self._under_way[node.node].values():
            attempt.end_s = max(attempt.start_s, node.loads[-1][0] if node.loads else attempt.start_s)
        self._under_way[node.node].clear()

    def _commit(self, event: TaskCommitted, at: float, stamp: int) -> None:
        task = self._task(event.task)
        if task.stamp and task.stamp <= stamp:
            return
        task.stamp, task.ended_s, task.state = stamp, at, event.state
        task.node, task.epoch, task.attempts, task.error = event.peer, event.epoch, event.attempts, event.detail

    def _award(self, event: AuctionAwarded, at: float, node: NodeTold) -> None:
        task = self._task(event.task)
        task.initiator = task.initiator or node.node
        if not task.stamp and event.epoch >= task.epoch:
            task.state, task.node, task.epoch = State.AWARDED, event.winner, event.epoch
            task.attempts = max(task.attempts, 1)
        self._awards.append(
            AwardTold(
                event.task,
                event.epoch,
                event.auction,
                node.node,
                event.winner,
                at,
                event.cost,
                event.runner_up,
                event.margin,
                event.rule,
                {bid.node: bid.cost for bid in event.bids},
                len(event.declines),
                len(event.silent),
            )
        )

    # -- when all is read

    def _end(self, began: float) -> None:
        """All times count from the beginning; what is not ended ends with its node; slots are given."""
        self._changes.sort(key=lambda change: change.at_s)
        for node in self._nodes.values():
            if node.stopped_s is None:
                node.killed_s = min(self._noticed(node), default=None)
            ended = node.killed_s if node.killed_s is not None else node.last_s
            for attempt in self._under_way[node.node].values():
                lost = self._lost.get((attempt.task, attempt.epoch, attempt.node), ended)
                attempt.end_s = max(min(ended, lost), attempt.start_s)
                task = self._tasks[attempt.task]
                if not task.stamp and (task.epoch, task.node) == (attempt.epoch, attempt.node):
                    task.state = State.RUNNING
        for session, batch in self._batches.items():
            batch.traded, batch.moved = self._met[session], self._moved[session]
        self._rebase(began)
        _give_slots(self._attempts)
        self._awards.sort(key=lambda award: award.at_s)

    def _noticed(self, node: NodeTold) -> Iterator[float]:
        """When others doubted it, or gave up what it had, after the last that it wrote itself."""
        for change in self._changes:
            if change.peer == node.node and change.state in GONE and change.at_s >= node.last_s:
                yield change.at_s
                break
        yield from (at for (_, _, peer), at in self._lost.items() if peer == node.node and at >= node.last_s)

    def _rebase(self, began: float) -> None:
        for attempt in self._attempts:
            attempt.start_s -= began
            attempt.end_s -= began
        for award in self._awards:
            award.at_s -= began
        for auction in self._opened:
            self._opened[auction] -= began
        for batch in self._batches.values():
            batch.at_s -= began
        for trade in self._trades:
            trade.at_s -= began
        for task in self._tasks.values():
            task.submitted_s = None if task.submitted_s is None else task.submitted_s - began
            task.ended_s = None if task.ended_s is None else task.ended_s - began
        for node in self._nodes.values():
            node.starts_s = [at - began for at in node.starts_s]
            node.stopped_s = None if node.stopped_s is None else node.stopped_s - began
            node.killed_s = None if node.killed_s is None else node.killed_s - began
            node.first_s = None if node.first_s is None else node.first_s - began
            node.last_s -= began
            node.loads = [(at - began, *rest) for at, *rest in node.loads]  # type: ignore[misc]
        self._changes = [
            Change(change.at_s - began, change.observer, change.peer, change.state, change.reason)
            for change in self._changes
        ]


def _give_slots(attempts: list[Attempt]) -> None:
    """The lowest slot that is free when an attempt starts: logs tell how many ran, not where."""
    attempts.sort(key=lambda attempt: (attempt.start_s, attempt.end_s))
    running: dict[str, list[tuple[float, int]]] = {}
    free: dict[str, list[int]] = {}
    used: Counter[str] = Counter()
    for attempt in attempts:
        ends, empty = running.setdefault(attempt.node, []), free.setdefault(attempt.node, [])
        while ends and ends[0][0] <= attempt.start_s:
            heapq.heappush(empty, heapq.heappop(ends)[1])
        if empty:
            attempt.slot = heapq.heappop(empty)
        else:
            attempt.slot = used[attempt.node]
            used[attempt.node] += 1
        heapq.heappush(ends, (attempt.end_s, attempt.slot))
