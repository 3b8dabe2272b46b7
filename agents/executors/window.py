"""Who reads an attempt's output as it comes, and how much more of it may be told before some has been read.

The idea: a window of OUTPUT_UNREAD_MAX bytes, both streams together. It shrinks with what is told and grows with what
is read; while it is empty, the pipes are left alone, and whoever writes into them waits as before any full pipe.
Where nobody follows, or no longer, there is always room and nothing is told.

    pipe                       window                     runtime
      | room? -> 65,536          |                          |
      | tell(OUT, 65,536) -----> | Output ----------------> |
      | room? -> 0               |                          |
      | <--------------- on_room | <------- resume(65,536)  |

Invariant: no more than OUTPUT_UNREAD_MAX bytes are told and not read, and nothing is told after `close`.
"""

from __future__ import annotations

from collections.abc import Callable

from ...protocols.performatives import OUTPUT_BYTES_MAX, OUTPUT_UNREAD_MAX, Output, Stream
from .base import Tell


class Window:
    """One attempt's; `tell` is None if nobody follows it. `on_room` is called when there may be room again."""

    def __init__(self, task: str, epoch: int, tell: Tell | None) -> None:
        self._task = task
        self._epoch = epoch
        self._tell = tell
        self._left = OUTPUT_UNREAD_MAX
        self.on_room: Callable[[], None] = _nobody_waits

    @property
    def followed(self) -> bool:
        return self._tell is not None

    @property
    def room(self) -> int:
        """So many bytes may be told next, in one piece."""
        return min(self._left, OUTPUT_BYTES_MAX) if self._tell else OUTPUT_BYTES_MAX

    def tell(self, stream: Stream, data: bytes) -> None:
        """At most `room` bytes that were read from a stream."""
        if self._tell:
            self._left -= len(data)
            self._tell(Output(self._task, self._epoch, stream, data))

    def resume(self, size: int) -> None:
        """So many bytes were read."""
        self._left = min(self._left + size, OUTPUT_UNREAD_MAX)
        self.on_room()

    def close(self) -> None:
        """Nobody follows it any more."""
        self._tell = None
        self.on_room()


def _nobody_waits() -> None:
    pass
