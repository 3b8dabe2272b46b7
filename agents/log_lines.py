"""Lines of a log that have some words in them: found many at a time, so that a large one is soon through.

Whoever explains a run reads its files so, and an agent its own, when it is asked what it has told of a task
(`protocols/retelling.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ..protocols.core import TaskId
from ..protocols.retelling import LINES_BYTES_MAX, LINES_MAX
from ..protocols.swim_words import PeerState

CHUNK_BYTES = 1024 * 1024
LINE_BYTES_MAX = 8 * 1024 * 1024
"""What is longer is no line of ours."""
OF_PEERS = msgspec.json.encode(PeerState.name)


def lines_with(path: Path, *words: bytes) -> Iterator[bytes]:
    """The lines that have one of these in them, in order, without their ends."""
    rest = b""
    with suppress(OSError), path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            block, end, rest = (rest + chunk).rpartition(b"\n")
            yield from _in_block(block + end, words)
            if len(rest) > LINE_BYTES_MAX:
                rest = b""
    yield from _in_block(rest, words)


def _in_block(block: bytes, words: Sequence[bytes]) -> Iterator[bytes]:
    """Each once."""
    found: dict[int, int] = {}  # where such a line begins and ends
    for word in words:
        at = block.find(word)
        while at >= 0:
            begin, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
            end = len(block) if end < 0 else end
            found[begin] = end
            at = block.find(word, end)
    for begin in sorted(found):
        yield block[begin : found[begin]]


def search(path: Path, task: TaskId) -> tuple[tuple[bytes, ...], int]:
    """What the log has of the task: the first and the last of its lines, as many as one answer may hold, and how many
    were left out."""
    first, last, left_out = _Half(), _Half(), 0
    for line in _about(path, task):
        if last.lines or left_out or not first.has_room(len(line)):
            left_out += last.push(line)
        else:
            first.push(line)
    return (*first.lines, *last.lines), left_out


def _about(path: Path, task: TaskId) -> Iterator[bytes]:
    """The lines that name it, and between them those that tell of nodes coming and going."""
    name = msgspec.json.encode(task)
    begun = False
    between: deque[bytes] = deque(maxlen=LINES_MAX)
    for line in lines_with(path, name, OF_PEERS):
        if name not in line:
            between.append(line)
            continue
        if begun:
            yield from between
        begun = True
        between.clear()
        yield line


class _Half:
    """As many lines as half an answer may hold."""

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self._size = 0

    def has_room(self, size: int) -> bool:
        return len(self.lines) < LINES_MAX // 2 and self._size + size <= LINES_BYTES_MAX // 2

    def push(self, line: bytes) -> int:
        """One more; the oldest make room. How many went."""
        gone = 0
        self.lines.append(line)
        self._size += len(line)
        while len(self.lines) > LINES_MAX // 2 or self._size > LINES_BYTES_MAX // 2:
            self._size -= len(self.lines.popleft())
            gone += 1
        return gone
