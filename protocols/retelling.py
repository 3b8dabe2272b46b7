"""What a node has told its log of a task, it tells whoever asks: so a story whose lines lie on many machines can be
read on one of them.

    client                  Retelling                      shell
      | AskLines(task) ------> | FindLines(task) -----------> |  searches the file, beside the loop
      |                        | <---- LinesFound(lines)      |
      | <----- LinesTold(lines)|

An agent speaks for itself only; a client asks those that it wants to hear. No line has a payload in it, and whoever may
connect may ask.

Invariant: each question has one answer, of no more than LINES_MAX lines and LINES_BYTES_MAX bytes: of more, the first
and the last of them, and how many were left out; at most SEARCHES_MAX are under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from .core import Count, Effect, Local, Message, NodeId, ProtocolError, Send, TaskId
from .requests import NotFound

SEARCHES_MAX = 8
LINES_MAX = 1_000
LINES_BYTES_MAX = 1024 * 1024

LogLine: TypeAlias = Annotated[bytes, Meta(max_length=LINES_BYTES_MAX)]
"""As it lies in the file, without its end."""
LogLines: TypeAlias = Annotated[tuple[LogLine, ...], Meta(max_length=LINES_MAX)]


class AskLines(Message, frozen=True, array_like=True):
    """What has your log of this task, by its whole id?"""

    request: Count
    task: TaskId


class LinesTold(Message, frozen=True, array_like=True):
    """All that it has, in order; `left_out` lines more stand between them."""

    request: Count
    lines: LogLines
    left_out: Count


class LinesFound(Local, frozen=True, array_like=True):
    """The shell's answer to `FindLines`, which it repeats."""

    client: NodeId
    request: Count
    lines: LogLines
    left_out: Count


class FindLines(Effect, frozen=True):
    """Search this node's log for a task; one `LinesFound` follows."""

    client: NodeId
    request: int
    task: TaskId


MESSAGES: tuple[type[Message], ...] = (AskLines, LinesTold)


class Retelling:
    """Of one node."""

    def __init__(self) -> None:
        self._searches = 0

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case AskLines(request) if self._searches == SEARCHES_MAX:
                busy = f"this agent searches its log for {SEARCHES_MAX} others already: ask again"
                return [Send(sender, NotFound(request, busy))]
            case AskLines(request, task):
                self._searches += 1
                return [FindLines(sender, request, task)]
            case LinesFound(client, request, lines, left_out):
                self._searches -= 1
                return [Send(client, LinesTold(request, lines, left_out))]
        raise ProtocolError(f"a retelling is not told {type(message).__name__}")

    def wake(self, now: float) -> Sequence[Effect]:
        return ()

    @property
    def deadline(self) -> float | None:
        return None
