"""Who follows an output: what a running attempt writes goes to its client, no faster than that reads.

    winner                initiator's desk             client
      | Printed(data) ----->| Output(data) ------------->|
      | <------------ Grant | <-------------- Credit     |  so much was read: the next may come

Invariant: of what is written no more than a window is on its way; a client that follows and falls silent for SILENT_S
holds nobody up: the rest is let go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from .book import Entry
from .contract_net import Initiator
from .core import Effect, NodeId, Send, TaskId
from .performatives import Credit, Grant, Output, Printed
from .requests import Follow

CLIENTS_MAX = 4_096
"""How many clients are kept in mind; the one that has said nothing for longest goes first."""
SILENT_S = 10.0
"""A client that follows an output and says nothing for so long does not read it any more."""


class Following:
    """All followers of one desk. `entry_of` finds a task in its book."""

    def __init__(self, initiator: Initiator, entry_of: Callable[[TaskId], Entry | None]) -> None:
        self._initiator = initiator
        self._entry_of = entry_of
        self._followed: dict[TaskId, int] = {}  # bytes of output on their way to the client
        self._heard: OrderedDict[NodeId, float] = OrderedDict()  # when each client last said something
        self.look_at: float | None = None
        """When to look for silent followers."""

    def hear(self, client: NodeId, now: float) -> None:
        """It has said something."""
        self._heard[client] = now
        self._heard.move_to_end(client)
        if len(self._heard) > CLIENTS_MAX:
            self._heard.popitem(last=False)

    def end(self, task: TaskId) -> None:
        self._followed.pop(task, None)

    def printed(self, printed: Printed, sender: NodeId) -> Sequence[Effect]:
        """What a winner passes on goes to the client, or nowhere."""
        task, epoch, stream, data = printed.task, printed.epoch, printed.stream, printed.data
        entry = self._entry_of(task)
        if self._initiator.holder(task, epoch) != sender or entry is None:
            return ()
        if entry.silent or entry.follow is not Follow.OUTPUT:
            return [Send(sender, Grant(task, epoch, len(data)))]
        self._followed[task] = self._followed.get(task, 0) + len(data)
        if self.look_at is None:
            self.look_at = self._heard.get(entry.client, 0.0) + SILENT_S
        return [Send(entry.client, Output(task, epoch, stream, data))]

    def credit(self, credit: Credit, sender: NodeId) -> Sequence[Effect]:
        """The client has read so much."""
        task, epoch, size = credit.task, credit.epoch, credit.size
        entry, winner = self._entry_of(task), self._initiator.holder(task, epoch)
        if entry is None or entry.client != sender or winner is None or task not in self._followed:
            return ()
        self._followed[task] = max(self._followed[task] - size, 0)
        return [Send(winner, Grant(task, epoch, size))]

    def look(self, now: float) -> Sequence[Effect]:
        """Followers that say nothing any more do not read either: what they were sent is taken for read."""
        effects: list[Effect] = []
        for task, unread in list(self._followed.items()):
            entry = self._entry_of(task)
            if entry is None or unread == 0 or now - self._heard.get(entry.client, 0.0) < SILENT_S:
                continue
            entry.silent = True
            del self._followed[task]
            standing = self._initiator.standing(task)
            if standing is not None and standing[2] is not None:
                effects.append(Send(standing[2], Grant(task, standing[3], unread)))
        self.look_at = now + SILENT_S if self._followed else None
        return effects
