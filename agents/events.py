"""The log of one node: every event that the protocols declare becomes one JSON line, in one file, in one schema.

    write(event) -> kept in memory, with the clocks of this moment
    flush()      -> structlog: stamp (header and fields) -> render (msgspec) -> one os.write to an O_APPEND descriptor

A line is a `Header` followed by the event's own fields; `seq` counts the lines of one writer from 1, so that a gap is a
lost line. What can be wrong when a node starts (no such folder, no right to write) is a `LogError`; what goes wrong
later (a full disk) is said once, costs lines, and never stops the agent.

Invariant: a line is either whole, or followed by a new line of its own: whatever a full disk or a killed node cut off
in the middle spoils itself only.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
import structlog
from msgspec import UNSET, Meta, UnsetType
from structlog.typing import WrappedLogger

from ..protocols.core import Event
from ..transport.clock import HybridClock
from ..transport.links import Cause
from . import agent, node_events

VERSION = 1
"""Of the lines; it rises when a field changes its meaning, not when fields or events are added."""
UNWRITTEN_MAX = 1_000
"""Events kept in memory; more are written at once."""

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS = ("debug", "info", "warning", "error")


VOCABULARY: tuple[type[Event], ...] = (*node_events.EVENTS, *agent.EVENTS)
"""All that a log may hold."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What every line begins with.

    `ts` is UTC by the node's wall clock, `mono` its monotonic clock in seconds (the same for all nodes of one machine),
    `hlc` the hybrid logical clock, by which the lines of several nodes are put in order; `cause` is the id of the
    message that caused the event.
    """

    ts: Annotated[datetime, Meta(tz=True)]
    mono: float
    hlc: Annotated[int, Meta(ge=0)]
    level: Level
    event: str
    v: Literal[1]
    run: str
    node: str
    seq: Annotated[int, Meta(ge=1)]
    cause: str | UnsetType = UNSET


class Told(NamedTuple):
    """An event, and when it happened by all the clocks."""

    event: Event
    mono: float
    wall: float
    hlc: int
    cause: Cause | str | None


class LogError(Exception):
    """The log cannot be opened: one sentence for the person who started the node."""


def to_stderr(sentence: str) -> None:
    """Say it where a person may see it."""
    with suppress(OSError):  # nobody listens
        print(f"parley: {sentence}", file=sys.stderr, flush=True)


class EventLog:
    """Writes the events of one node to `path`, behind what is there already.

    `level` is the lowest that is written; `complain` is told, once, if lines cannot be written any more. `wall` gives
    seconds since the epoch. Raises LogError.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        node: str,
        clock: HybridClock,
        level: Level = "info",
        wall: Callable[[], float] = time.time,
        complain: Callable[[str], None] = to_stderr,
    ) -> None:
        self._run = run
        self._node = node
        self._clock = clock
        self._wall = wall
        self._told: list[Told] = []
        self._words: dict[type[Event], str] = {}
        self._second = -1  # of which `_second_text` is the text
        self._second_text = ""
        self._seq = 0
        self._file = _File(path, complain)
        self._lowest = LEVELS.index(level)
        processors: list[Any] = [self._stamp, _render]
        self._logger: _Pipeline = structlog.wrap_logger(
            self._file, processors=processors, wrapper_class=_Pipeline, context_class=dict
        ).bind()

    def write(self, event: Event, now_mono: float, cause: Cause | str | None = None) -> None:
        """One more line; `cause` is the message that caused it. Rendered when it is flushed, off the hot path."""
        if LEVELS.index(event.level) < self._lowest:
            return
        self._told.append(Told(event, now_mono, self._wall(), self._clock.tick(), cause))
        if len(self._told) >= UNWRITTEN_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand all lines to the operating system."""
        for told in self._told:
            self._logger.tell(told)
        self._told.clear()
        self._file.flush()

    def close(self) -> None:
        """Flush, and let go of the file; what is written later is dropped."""
        self.flush()
        self._file.close()

    def _stamp(self, _logger: WrappedLogger, _level: str, told: Told) -> tuple[bytes, Event]:
        """The header of the line, in the order in which people read it, as the beginning of a JSON object."""
        self._seq += 1
        second, micros = divmod(int(told.wall * 1e6), 1_000_000)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        kind = type(told.event)
        words = self._words.get(kind) or self._words.setdefault(kind, self._say(kind))
        cause = f',"cause":{_text(str(told.cause))}' if told.cause is not None else ""
        clocks = f'"ts":"{self._second_text}.{micros:06d}Z","mono":{told.mono!r},"hlc":{told.hlc}'
        return f'{{{clocks},{words},"seq":{self._seq}{cause},'.encode(), told.event

    def _say(self, kind: type[Event]) -> str:
        """What every line of this kind says alike."""
        alike = f'"level":"{kind.level}","event":"{kind.name}","v":{VERSION}'
        return f'{alike},"run":{_text(self._run)},"node":{_text(self._node)}'


class _Pipeline(structlog.BoundLoggerBase):
    """A structlog logger that hands an event through its processors as it is, without unpacking it into keywords."""

    def tell(self, told: Told) -> None:
        line: Any = told
        for process in self._processors:
            line = process(self._logger, told.event.level, line)
        self._logger.append(line)


_encode = msgspec.json.Encoder().encode


def _text(text: str) -> str:
    return _encode(text.encode("utf-8", "replace").decode()).decode()


def _render(_logger: WrappedLogger, _level: str, stamped: tuple[bytes, Event]) -> bytes:
    """Header and event, as one JSON object on one line."""
    header, event = stamped
    try:
        return header + _encode(event)[1:] + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, as in a file name that is not UTF-8: it becomes "?"
        text = json.dumps(msgspec.to_builtins(event), ensure_ascii=False)
        return header + text[1:].encode("utf-8", "replace") + b"\n"


class _File:
    """Where rendered lines go: the end of structlog's pipeline."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain: Callable[[str], None] | None = complain
        self._lines: list[bytes] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._descriptor).st_size
            self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        except OSError as error:
            raise LogError(f"the log {path} cannot be written ({error.strerror}): choose another folder") from error

    def append(self, line: bytes) -> None:
        if self._descriptor is None:
            return
        self._lines.append(line)

    def flush(self) -> None:
        if not self._lines or self._descriptor is None:
            return
        block = memoryview(b"".join((b"\n" if self._torn else b"", *self._lines)))
        self._lines.clear()
        try:
            while block:
                written = os.write(self._descriptor, block)
                self._torn = block[written - 1] != ord("\n")
                block = block[written:]
        except OSError as error:
            if self._complain is not None:
                self._complain(f"the log {self._path} loses lines ({error.strerror}); the agent goes on without them")
                self._complain = None

    def close(self) -> None:
        self.flush()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


# --- the schema ------------------------------------------------------------------------------------------------------


def schema(vocabulary: Sequence[type[Event]] = VOCABULARY) -> dict[str, object]:
    """The lines of the log as one JSON Schema (2020-12), made from the types."""
    refs, parts = msgspec.json.schema_components((Header, *vocabulary), ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])  # as newer Pythons keep docstrings
    header = parts.pop("Header")
    for event in vocabulary:
        part = parts[event.__name__]
        words = {"event": {"const": event.name}, "level": {"const": event.level}}
        part["properties"] = {**words, **part["properties"]}
        part["required"] = ["event", "level", *part["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of Parley's log",
        **{key: header[key] for key in ("type", "properties", "required")},
        "oneOf": list(refs[1:]),
        "$defs": parts,
    }


def schema_text() -> str:
    """What stands in docs/log.schema.json; `python -m parley.agents.events` prints it."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
