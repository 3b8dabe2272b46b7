"""What a process says on its way, cut into lines, and no more of it than anybody would read.

Invariant: memory is bounded by one line, whatever comes; a line is at most LINE_BYTES_MAX long (the rest of it is
dropped), and after LINES_MAX of them one last line says that there were more.
"""

from __future__ import annotations

LINE_BYTES_MAX = 8 * 1024
LINES_MAX = 1000
DROPPED = f"(more than {LINES_MAX:,} lines: the rest is dropped)"


class Lines:
    """Bytes in as they come, lines out; one object per stream, `begin` before each attempt."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = LINES_MAX

    def begin(self) -> None:
        """A new attempt: it may say LINES_MAX lines again."""
        self._left = LINES_MAX

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete."""
        if self._left < 0:
            return []
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_BYTES_MAX]
        return self._counted(lines)

    def end(self) -> list[str]:
        """The stream is over: what is left of an unfinished line."""
        rest, self._rest = self._rest, b""
        return self._counted([rest] if rest else [])

    def _counted(self, lines: list[bytes]) -> list[str]:
        told = [line[:LINE_BYTES_MAX].decode(errors="replace") for line in lines[: max(self._left, 0)]]
        if len(lines) > self._left >= 0:
            told.append(DROPPED)
            self._left = -1
            self._rest = b""
        else:
            self._left -= len(told)
        return told
