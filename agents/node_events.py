"""What a node tells the log of itself: when it began to listen, what it has to do, that it has ended in order."""

from __future__ import annotations

from typing import ClassVar

from ..protocols.core import Event


class NodeStarted(Event, frozen=True, kw_only=True):
    """An agent has begun to listen; with a higher incarnation it is the same node, started anew."""

    name: ClassVar[str] = "node.start"
    incarnation: int
    address: str
    slots: int
    speed: float
    version: str
    pid: int


class NodeStopped(Event, frozen=True, kw_only=True):
    """An agent has ended in order. A log without this last line is one of a killed node, or of a living one."""

    name: ClassVar[str] = "node.stop"
    reason: str


class NodeLoad(Event, frozen=True, kw_only=True):
    """What a node has to do, once a second and at its end; `queued_s`: expected seconds of what waits and does not run
    yet. `messages` and `bytes`: what it has sent to others in this life, one that is published counted once, and bytes
    as they left, with what was repeated."""

    name: ClassVar[str] = "node.load"
    slots: int
    running: int
    waiting: int
    queued_s: float
    messages: int = 0
    bytes: int = 0


EVENTS: tuple[type[Event], ...] = (NodeStarted, NodeStopped, NodeLoad)
