"""A speaker's delegate to a session: assignments and bundles over `rounds.py` and `gossip.py`, where all hear all.

`session.py` carries words unread, and wants a player that stays as it was when it is succeeded by one that has heard
more. A speaker (neighbours.py) is one object that is told. So the delegate copies its speaker, lets the copy hear and
speak, and holds the word that it said.

    driver                 delegate                        speaker's copy
      | hear({n1, n2})         | hear(n1's), hear(n2's) -------> |
      |                        | is there news? speak ---------> |
      | say() <--------------- | its last word

`whole`: each word says all that is known. In gossip it must, for only the newest word of a node arrives; in rounds all
words arrive, and what is new is enough.

Invariant: a delegate never changes; what it cannot read counts as not said.
"""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable, Mapping

import msgspec

from .core import Message, NodeId, PeerError
from .neighbours import Speaker

S = typing.TypeVar("S", bound=Speaker)
_encode = msgspec.msgpack.Encoder().encode


class Delegate(typing.Generic[S]):
    """One node's part of a session of `members`, played by a speaker. `kind` is the type of all words."""

    def __init__(
        self, node: NodeId, members: Iterable[NodeId], speaker: S, kind: type[Message], *, whole: bool
    ) -> None:
        self.speaker = speaker
        self._node = node
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._whole = whole
        self._present = frozenset(members)  # who takes part, as far as it has heard
        self._turn = 1
        self._word = _encode(speaker.speak(1, whole=whole))

    def say(self) -> bytes:
        return self._word

    def hear(self, words: Mapping[NodeId, bytes]) -> Delegate[S]:
        after = copy.copy(self)
        after.speaker = copy.deepcopy(self.speaker)
        for node in sorted(self._present - words.keys()):
            after.speaker.gone(node)
        after._present = frozenset(words)
        for node in sorted(words.keys() - {self._node}):
            after._listen(words[node], node)
        if after.speaker.news:
            after._turn += 1
            after._word = _encode(after.speaker.speak(after._turn, whole=self._whole))
        return after

    @property
    def settled(self) -> bool:
        return self.speaker.done

    def _listen(self, word: bytes, sender: NodeId) -> None:
        try:
            self.speaker.hear(self._decoder.decode(word), sender)
        except (msgspec.DecodeError, PeerError):
            return
