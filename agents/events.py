"""The log of one node: every event that the protocols declare becomes one JSON line, in one file, in one schema.

    write(event) -> kept in memory, with the clocks of this moment
    flush()      -> structlog, all of them at once: stamp (headers) -> render (msgspec) -> one os.write to an O_APPEND
                    descriptor

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
from typing import Annotated, Any, Literal, TypeAlias

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


Told: TypeAlias = tuple[Event, str, float, float, int, Cause | str | None]
"""An event, what every line of its kind says alike, and when it happened: monotonic clock, wall, hybrid clock; its
cause."""


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
        kind = type(event)
        words = self._words.get(kind)
        if words is None:
            words = self._words[kind] = self._say(kind)
        if not words:
            return
        self._told.append((event, words, now_mono, self._wall(), self._clock.tick(), cause))
        if len(self._told) >= UNWRITTEN_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand all lines to the operating system."""
        if self._told:
            told, self._told = self._told, []
            self._logger.tell(told)

    def close(self) -> None:
        """Flush, and let go of the file; what is written later is dropped."""
        self.flush()
        self._file.close()

    def _stamp(self, _logger: WrappedLogger, _level: str, told: Sequence[Told]) -> list[tuple[str, Event]]:
        """The header of each line, in the order in which people read it, as the beginning of a JSON object."""
        stamped: list[tuple[str, Event]] = []
        seq = self._seq
        for event, words, mono, wall, hlc, cause in told:
            seq += 1
            second, micros = divmod(int(wall * 1e6), 1_000_000)
            if second != self._second:
                self._second = second
                self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            caused = f',"cause":{_text(str(cause))}' if cause is not None else ""
            clocks = f'"ts":"{self._second_text}.{micros:06d}Z","mono":{mono!r},"hlc":{hlc}'
            stamped.append((f'{{{clocks},{words},"seq":{seq}{caused}', event))
        self._seq = seq
        return stamped

    def _say(self, kind: type[Event]) -> str:
        """What every line of this kind says alike; empty: it lies below the level."""
        if LEVELS.index(kind.level) < self._lowest:
            return ""
        alike = f'"level":"{kind.level}","event":"{kind.name}","v":{VERSION}'
        return f'{alike},"run":{_text(self._run)},"node":{_text(self._node)}'


class _Pipeline(structlog.BoundLoggerBase):
    """A structlog logger that hands events through its processors as they are, many at once: it unpacks none of them
    into keywords."""

    def tell(self, told: Sequence[Told]) -> None:
        lines: Any = told
        for process in self._processors:
            lines = process(self._logger, "info", lines)
        self._logger.append(lines)


_encoder = msgspec.json.Encoder()
_encode, _encode_into = _encoder.encode, _encoder.encode_into


def _text(text: str) -> str:
    try:
        return _encode(text).decode()
    except UnicodeEncodeError:
        return _encode(text.encode("utf-8", "replace").decode()).decode()


def _render(_logger: WrappedLogger, _level: str, stamped: Sequence[tuple[str, Event]]) -> bytearray:
    """Header and event, as one JSON object on one line; all lines."""
    block = bytearray()
    for header, event in stamped:
        block += header.encode()
        joint = len(block)
        try:
            _encode_into(event, block, joint)
        except UnicodeEncodeError:  # a lone surrogate, as in a file name that is not UTF-8: it becomes "?"
            text = json.dumps(msgspec.to_builtins(event), ensure_ascii=False)
            block[joint:] = text.encode("utf-8", "replace")
        block[joint] = _COMMA  # where the event's own object would begin
        block += b"\n"
    return block


_COMMA = ord(",")


class _File:
    """Where rendered lines go: the end of structlog's pipeline."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain: Callable[[str], None] | None = complain
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._descriptor).st_size
            self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        except OSError as error:
            raise LogError(f"the log {path} cannot be written ({error.strerror}): choose another folder") from error

    def append(self, lines: bytearray) -> None:
        if self._descriptor is None:
            return
        if self._torn:
            lines[:0] = b"\n"
        block = memoryview(lines)
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
