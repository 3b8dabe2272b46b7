"""Talking with one's neighbours in a graph: in rounds, or as soon as there is news. Nobody counts for the others.

Source: B. Awerbuch, Complexity of Network Synchronization, J. ACM 32, 1985 (synchroniser α, without its
acknowledgements: links deliver once and in order).

    in rounds                                      asynchronously
      speak, round 1 -> all neighbours               speak -> all neighbours
      ... each neighbour's round 1 has come          a word comes -> heard at once; is there news?
      hear them, in the order of their ids           wake, no sooner than `pace_s` after the last: speak
      speak, round 2 -> ...                          no news: silence
      done: speak once more, as the last

What is said, and what it means, is the speaker's (assignment.py, cbba.py). It decides by itself that all is done; its
last words tell its neighbours enough to see it too.

Invariants: two neighbours are at most one round apart; nobody waits for one who has said its last, or is gone.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Iterable, Sequence

from .core import Count, Effect, Message, NodeId, PeerDown, PeerError, Send

AHEAD_MAX = 2
"""So many rounds of a neighbour may wait to be heard."""


class Words(typing.Protocol):
    """What a speaker's messages have in common."""

    @property
    def round(self) -> Count: ...
    @property
    def last(self) -> bool: ...


class Speaker(typing.Protocol):
    """One side of a conversation among neighbours."""

    def hear(self, message: Message, sender: NodeId) -> None:
        """Raises PeerError on nonsense."""

    def speak(self, turn: int, *, whole: bool = False) -> Message:
        """Act on what was heard, and say what is new; `whole`: all that is known, for those who may have missed words.
        A message that has the fields of `Words`."""

    def gone(self, node: NodeId) -> None:
        """It takes no part any more."""

    @property
    def news(self) -> bool:
        """There is something to say."""

    @property
    def done(self) -> bool:
        """All is decided, and it knows."""


class InRounds:
    """Rounds among neighbours: a node speaks when all its neighbours have been heard."""

    def __init__(self, speaker: Speaker, neighbours: Iterable[NodeId]) -> None:
        self._speaker = speaker
        self._neighbours = sorted(neighbours)
        self._unheard: dict[NodeId, deque[Message]] = {node: deque() for node in self._neighbours}
        self._silent: set[NodeId] = set()  # their last words have been heard
        self.spoken = 0
        """How often it has spoken: the number of the round."""
        self._begun = False
        self._ended = False

    def begin(self, now: float) -> Sequence[Effect]:
        """Speak for the first time."""
        self._begun = True
        return [*self._speak(), *self._advance()]

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, PeerDown):
            self._speaker.gone(message.node)
            if message.node in self._unheard:
                self._silent.add(message.node)
            return self._advance()
        unheard = self._unheard.get(sender)
        if unheard is None:
            raise PeerError(f"{sender} is no neighbour")
        if len(unheard) == AHEAD_MAX:
            raise PeerError(f"{sender} speaks again before it can have heard this node")
        unheard.append(message)
        return self._advance()

    def wake(self, now: float) -> Sequence[Effect]:
        return ()

    @property
    def deadline(self) -> float | None:
        return None

    def _advance(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._begun and not self._ended and all(self._unheard[node] for node in self._awaited()):
            for node in self._neighbours:
                if self._unheard[node]:
                    message = self._unheard[node].popleft()
                    self._speaker.hear(message, node)
                    if _last(message):
                        self._silent.add(node)
            effects += self._speak()
        return effects

    def _awaited(self) -> list[NodeId]:
        return [node for node in self._neighbours if node not in self._silent]

    def _speak(self) -> list[Effect]:
        self.spoken += 1
        words = self._speaker.speak(self.spoken)
        self._ended = _last(words) or not (self._awaited() or self._speaker.news)
        return [Send(node, words) for node in self._awaited()]


class AtOnce:
    """No rounds: whoever has news tells its neighbours, at most once in `pace_s` seconds."""

    def __init__(self, speaker: Speaker, neighbours: Iterable[NodeId], pace_s: float = 0.01) -> None:
        self._speaker = speaker
        self._neighbours = sorted(neighbours)
        self._pace_s = pace_s
        self._next: float | None = None  # when it may speak; None: it has not begun
        self.spoken = 0
        """How often it has spoken."""

    def begin(self, now: float) -> Sequence[Effect]:
        """Speak for the first time."""
        return self._speak(now)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, PeerDown):
            self._speaker.gone(message.node)
            self._neighbours = [node for node in self._neighbours if node != message.node]
        elif sender in self._neighbours:
            self._speaker.hear(message, sender)
        else:
            raise PeerError(f"{sender} is no neighbour")
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        return self._speak(now) if self.deadline is not None and self.deadline <= now else ()

    @property
    def deadline(self) -> float | None:
        return self._next if self._speaker.news else None

    def _speak(self, now: float) -> list[Effect]:
        self.spoken += 1
        self._next = now + self._pace_s
        words = self._speaker.speak(self.spoken)
        return [Send(node, words) for node in self._neighbours]


def _last(message: Message) -> bool:
    return typing.cast("Words", message).last
