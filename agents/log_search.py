"""An agent searches its own log in a thread, so that the loop never waits for a disk.

    Retelling --- FindLines ---> LogSearch ---> one thread: `log_lines.search`
              <-- LinesFound ---           <---
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..protocols.retelling import FindLines, LinesFound
from .log_lines import search


class LogSearch:
    """Of one agent, on one loop; `tell` hears what was found."""

    def __init__(self, path: Path, tell: Callable[[LinesFound], None]) -> None:
        self._path = path
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "log")

    def begin(self, wanted: FindLines) -> None:
        """In the thread, behind what was begun before."""
        found = asyncio.get_running_loop().run_in_executor(self._thread, search, self._path, wanted.task)
        found.add_done_callback(lambda done: self._found(wanted, done))

    def _found(self, wanted: FindLines, done: asyncio.Future[tuple[tuple[bytes, ...], int]]) -> None:
        if not done.cancelled():
            self._tell(LinesFound(wanted.client, wanted.request, *done.result()))

    def close(self) -> None:
        """Nothing more is told."""
        self._tell = lambda found: None
        self._thread.shutdown(wait=False, cancel_futures=True)
