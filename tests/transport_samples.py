"""What the tests of the transport say to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Meta

from parley.protocols.core import Effect, Local, Message, NodeId, Payload, Seconds, Send, Text
from parley.transport.clock import HybridClock
from parley.transport.codec import Codec
from parley.transport.links import Drop, Links


class Say(Message, frozen=True, array_like=True):
    number: Annotated[int, Meta(ge=0, le=2**53)]
    text: Text = ""


class Weigh(Message, frozen=True, array_like=True):
    weights: Annotated[tuple[Seconds, ...], Meta(max_length=1000)]


class Carry(Message, frozen=True, array_like=True):
    payload: Payload


class Heard(Local, frozen=True, array_like=True):
    node: NodeId


SAMPLES = (Say, Weigh, Carry)


def make_links(node: NodeId, incarnation: int = 1, on_drop: Callable[[Drop], None] | None = None) -> Links:
    clock = HybridClock(lambda: 1.0)
    if on_drop is None:
        return Links(node, incarnation, Codec(SAMPLES), clock)
    return Links(node, incarnation, Codec(SAMPLES), clock, on_drop=on_drop)


class Listener:
    """Keeps what it is told, and says nothing."""

    def __init__(self) -> None:
        self.heard: list[tuple[NodeId, Message]] = []

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        self.heard.append((sender, message))
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        return ()

    @property
    def deadline(self) -> float | None:
        return None


class Echo(Listener):
    """Answers each message with the same."""

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        super().receive(message, sender, now)
        return [Send(sender, message)]
