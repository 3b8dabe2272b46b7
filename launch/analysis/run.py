"""A run: the logs of all nodes in one folder, read as streams, and the events in them as the types that wrote them.

    run = open_run(Path("runs/last"))
    task = run.find("4T9K")                  a whole id, the unique beginning of one, or `last`
    for line in run.about(task): ...         the lines that name it, each with its event

Nothing is kept of what was read, so that a run may be larger than memory; who wants several things of it reads it
several times. Whatever a person may have done wrong is a `RunError` of one sentence; damage in the logs is not: it is
told in `notes`.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ...agents import node_events
from ...protocols import (
    auctions,
    batch_words,
    commitment_events,
    contract_events,
    gang_words,
    gossip,
    reckoning,
    rounds,
    service,
    swim_words,
)
from ...protocols.contract_events import AuctionAwarded
from ...protocols.core import Event
from ...protocols.service import TaskSubmitted
from ..problems import Problem
from .logfile import Head, LogFile, decode_head
from .words import listed

LAST = "last"
NAMED_MAX = 4
"""So many candidates are named where an id is ambiguous."""

KNOWN: tuple[type[Event], ...] = (
    *node_events.EVENTS,
    *swim_words.EVENTS,
    *service.EVENTS,
    *contract_events.EVENTS,
    *gang_words.EVENTS,
    *auctions.EVENTS,
    *commitment_events.EVENTS,
    *batch_words.EVENTS,
    *rounds.EVENTS,
    *gossip.EVENTS,
    *reckoning.EVENTS,
)
"""All that a log of this version may hold, as `agents.events.VOCABULARY` has it, without what writing a log needs."""
_decoders = {event.name: msgspec.json.Decoder(event) for event in KNOWN}


class RunError(Problem):
    """This run, or this task in it, cannot be read: one sentence that says what to do."""


class Line(NamedTuple):
    """A line of the log, understood."""

    head: Head
    event: Event


def understand(head: Head, line: bytes) -> Event | None:
    """The event of a line; None if this version does not know it, or not in this form."""
    decoder = _decoders.get(head.event)
    if decoder is None:
        return None
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError:
        return None


class Run:
    """The logs of one run. `notes` are those of the last time that `heads` was read to its end."""

    def __init__(self, path: Path, files: tuple[LogFile, ...]) -> None:
        self.path = path
        self.files = files
        self._invited: set[str] = set()

    def heads(self) -> Iterator[tuple[Head, bytes]]:
        """All lines, file by file. Raises RunError if there is not one event among them."""
        self._invited.clear()
        events = 0
        for file in self.files:
            for head, line in file.heads():
                events += 1
                if head.invitees:
                    self._invited.update(head.invitees)
                yield head, line
        if not events:
            raise self.empty

    def merged(self) -> Iterator[tuple[Head, bytes]]:
        """All lines of all nodes in the order of the hybrid clock, causes before effects. Raises RunError as `heads`.

        A line that is stamped earlier than the one before it in its own log (a node started again after its wall clock
        was set back) stays behind that one.
        """
        events = 0
        for _, _, _, head, line in heapq.merge(*(_in_order(place, file) for place, file in enumerate(self.files))):
            events += 1
            yield head, line
        if not events:
            raise self.empty

    def about(self, task: str) -> Iterator[Line]:
        """The lines that name this task, and those that tell of nodes coming and going; not yet in order."""
        name, peers = msgspec.json.encode(task), msgspec.json.encode(swim_words.PeerState.name)
        for file in self.files:
            for line in file.lines_with(name, peers):
                try:
                    head = decode_head(line)
                except (msgspec.MsgspecError, RecursionError):
                    continue
                event = understand(head, line)
                if event is not None:
                    yield Line(head, event)

    def about_each(self, tasks: Collection[str]) -> dict[str, list[Line]]:
        """The same for each of these tasks, read once; nodes come and go only while a task is told of."""
        found: dict[str, list[Line]] = {task: [] for task in tasks}
        peers: list[Line] = []
        for head, line in self.heads():
            if head.task in found:
                about: Iterable[str] = (head.task,)
            elif head.tasks:
                about = found.keys() & set(head.tasks)
            else:
                about = ()
            of_peer = head.event == swim_words.PeerState.name
            event = understand(head, line) if about or of_peer else None
            if event is None:
                continue
            if of_peer:
                peers.append(Line(head, event))
            for task in about:
                found[task].append(Line(head, event))
        peers.sort(key=lambda line: line.head.hlc)
        stamps = [line.head.hlc for line in peers]
        for lines in found.values():
            if lines:
                hlcs = [line.head.hlc for line in lines]
                lines += peers[bisect_left(stamps, min(hlcs)) : bisect_right(stamps, max(hlcs))]
        return found

    def find(self, name: str) -> str:
        """The id of the task that is meant. Raises RunError if it is none, or not just one."""
        if name == LAST:
            return self._last()
        matching: set[str] = set()
        for head, _ in self.heads():
            if head.task is not None and head.task.startswith(name):
                matching.add(head.task)
        if name in matching:
            return name
        if len(matching) == 1:
            return matching.pop()
        if matching:
            named = listed(sorted(matching), NAMED_MAX)
            raise RunError(f"{len(matching)} tasks begin with {name}: {named}; give more of the id")
        known = sorted({head.task for head, _ in self.heads() if head.task is not None})
        knows = f"it knows {listed(known, NAMED_MAX)}" if known else "it knows none"
        raise RunError(f"no task in {self.path} begins with {name}: {knows}")

    def _last(self) -> str:
        """The one that was handed in last; if none was by these logs, the one that was awarded last."""
        latest: tuple[bool, int, str] | None = None
        for head, _ in self.heads():
            if head.event in (TaskSubmitted.name, AuctionAwarded.name) and head.task is not None:
                this = (head.event == TaskSubmitted.name, head.hlc, head.task)
                latest = max(latest, this) if latest else this
        if latest is None:
            raise RunError(f"no task was handed in or awarded in {self.path}")
        return latest[-1]

    @property
    def empty(self) -> RunError:
        """What is said of it where it has not one event."""
        return RunError(f"there is not one event of Parley in {self.path}: is it the run you mean?")

    @property
    def damage(self) -> list[str]:
        """What is wrong with the logs that are here, one sentence each."""
        return [note for file in self.files for note in file.notes]

    @property
    def notes(self) -> list[str]:
        """What is wrong with the logs, one sentence each."""
        notes = self.damage
        absent = sorted(self._invited - {file.node for file in self.files})
        if absent:
            notes.append(f"no log here of {listed(absent, NAMED_MAX)}")
        return notes


def _in_order(place: int, file: LogFile) -> Iterator[tuple[int, int, int, Head, bytes]]:
    """Its lines with what they are merged by, which no two have in common."""
    latest = 0
    for number, (head, line) in enumerate(file.heads()):
        latest = max(latest, head.hlc)
        yield latest, place, number, head, line


def open_run(path: Path) -> Run:
    """The run in this folder, or in the folders of its nodes below it, or the one log in this file. Raises RunError."""
    try:
        if path.is_file():
            paths = [path]
        elif path.is_dir():
            paths = sorted(child for child in path.glob("*.jsonl") if child.is_file())
            paths = paths or sorted(child for child in path.glob("*/*.jsonl") if child.stem == child.parent.name)
        else:
            raise RunError(f"there is no run in {path}: `parley demo` makes one, or name the folder of another")
    except OSError as error:
        raise RunError(f"the run in {path} cannot be read: {error.strerror}") from error
    if not paths:
        raise RunError(f"there is no log (NAME.jsonl) in {path}: is it a run's folder, as runs/last is?")
    return Run(path, tuple(LogFile(path) for path in paths))
