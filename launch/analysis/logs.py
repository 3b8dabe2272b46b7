"""The logs of a run as one: the lines of all nodes in the order of the hybrid clock, those that are asked for.

    06:31:25.160479  n1  peer.state     peer=n2 state=dead reason="suspected by n1, n3, n4, not refuted for 0.8 s"
    06:31:25.160501  n1 !task.lost      task=qb6m4mwq1rqv epoch=1 peer=n2 reason=vanished

For people a line is its time, its node, its event and its fields, with ! before what is a warning and !! before an
error; for scripts (`--jsonl`) it is the line itself, byte by byte as it lies in its file. `follow` goes on with what is
written from now on, in new files as well: what comes within one look is put in order, and nothing waits longer.

Invariant: each log's own lines keep their order whatever its clocks say; what cannot be read is counted in `Run.notes`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from ..problems import Exit, did_you_mean
from .logfile import Head, LogFile, decode_head
from .run import KNOWN, Run, RunError, open_run
from .words import clean, listed

LOOK_S = 0.2
LEVEL_SIGNS = {"warning": "!", "error": "!!"}
_HEADER = frozenset({"ts", "mono", "hlc", "level", "event", "v", "run", "node", "seq", "cause"})


@dataclass(frozen=True)
class Wanted:
    """Which lines: of one of these nodes, of an event that one of these patterns fits, that name a task whose id begins
    so (`whole`: is so). What is empty asks for nothing."""

    nodes: Sequence[str] = ()
    events: Sequence[str] = ()
    task: str = ""
    whole: bool = False

    def __call__(self, head: Head, line: bytes) -> bool:
        if self.nodes and head.node not in self.nodes:
            return False
        if self.events and not any(fnmatchcase(head.event, pattern) for pattern in self.events):
            return False
        return not self.task or b'"' + self.task.encode() + (b'"' if self.whole else b"") in line

    def check(self, run: Run) -> None:
        """Raises RunError for a name that cannot be meant."""
        names = [event.name for event in KNOWN]
        for pattern in self.events:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise RunError(f"no event is called {pattern!r}{did_you_mean(pattern, names)}", Exit.USAGE)
        present = sorted({file.node for file in run.files})
        for node in self.nodes:
            if node not in present:
                raise RunError(f"no log here of {node}: there are those of {listed(present)}", Exit.USAGE)


def logs(path: Path, wanted: Wanted, last: int | None, tell: Callable[[bytes], None]) -> list[str]:
    """Tell all lines that are wanted, or the last so many of them; what is wrong with the logs. Raises RunError."""
    run = open_run(path)
    wanted.check(run)
    if wanted.task:
        wanted = replace(wanted, task=run.find(wanted.task), whole=True)
    kept = (line for head, line in run.merged() if wanted(head, line))
    for line in kept if last is None else deque(kept, maxlen=last):
        tell(line)
    return run.notes


def follow(path: Path, wanted: Wanted, last: int | None, tell: Callable[[bytes], None]) -> None:
    """The same, and then whatever is written, until interrupted. Raises RunError."""
    wanted.check(open_run(path))
    tails: dict[Path, _Tail] = {}
    while True:
        for file in open_run(path).files:
            tails.setdefault(file.path, _Tail(file))
        fresh = sorted(
            (head.hlc, place, number, line)
            for place, tail in enumerate(tails.values())
            for number, (head, line) in enumerate(tail.lines())
            if wanted(head, line)
        )
        for *_, line in fresh if last is None else fresh[len(fresh) - min(last, len(fresh)) :]:
            tell(line)
        last = None  # of what was there; of what comes, all
        time.sleep(LOOK_S)


class _Tail:
    """A log that is being written: each time what has come since, whole lines only."""

    def __init__(self, file: LogFile) -> None:
        self._path = file.path
        self._read = 0
        self._rest = b""

    def lines(self) -> Iterator[tuple[Head, bytes]]:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:  # somebody has emptied it
                    self._read, self._rest = 0, b""
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                yield decode_head(line), line
            except (msgspec.MsgspecError, RecursionError):
                continue


def for_people(line: bytes, paint: Callable[[str, str], str]) -> str:
    """One line in words; `paint(text, tint)` colours it or does not."""
    fields: dict[str, object] = msgspec.json.decode(line)
    sign = LEVEL_SIGNS.get(str(fields.get("level")), "")
    at, node, event = str(fields["ts"])[11:-1], clean(str(fields["node"])), clean(str(fields["event"]))
    told = " ".join(_field(name, value) for name, value in fields.items() if name not in _HEADER)
    head = paint(f"{at:<15}", "2") + f"  {node:<8} {paint(f'{sign:>2}{event:<14}', '31' if sign else '1')}"
    return f"{head} {told}".rstrip()


def _field(name: str, value: object) -> str:
    if isinstance(value, str):
        plain = value and all(sign.isalnum() or sign in "._:/#+-!" for sign in value)
        return f"{name}={value if plain else clean(msgspec.json.encode(value).decode())}"
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return f"{name}={clean(','.join(value))}"
    return f"{name}={clean(msgspec.json.encode(value).decode())}"


def named(patterns: Iterable[str]) -> tuple[str, ...]:
    """`task` means all events that begin so."""
    groups = {event.name.partition(".")[0] for event in KNOWN}
    return tuple(f"{pattern}.*" if pattern in groups else pattern for pattern in patterns)
