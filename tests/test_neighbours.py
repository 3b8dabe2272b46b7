"""Talking with neighbours: the barrier between rounds, who is waited for, and who may speak when."""

from __future__ import annotations

import pytest

from parley.protocols.core import Message, NodeId, PeerDown, PeerError, Send
from parley.protocols.neighbours import AtOnce, InRounds


class Said(Message, frozen=True, array_like=True):
    round: int
    last: bool


class Teller:
    """Is done after so many turns; notes what it hears."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.heard: list[tuple[NodeId, int]] = []
        self.lost: list[NodeId] = []
        self.turn = 0
        self.news = True

    def hear(self, message: Message, sender: NodeId) -> None:
        assert isinstance(message, Said)
        self.heard.append((sender, message.round))
        self.news = True

    def speak(self, turn: int, *, whole: bool = False) -> Said:
        self.turn = turn
        self.news = False
        return Said(turn, self.done)

    def gone(self, node: NodeId) -> None:
        self.lost.append(node)

    @property
    def done(self) -> bool:
        return self.turn >= self.turns


def test_a_round_is_over_when_all_neighbours_have_spoken() -> None:
    teller = Teller(9)
    rounds = InRounds(teller, ["c", "b"])
    assert rounds.receive(Said(1, False), "c", 0.0) == []  # c is ahead: we have not begun
    assert rounds.begin(0.0) == [Send("b", Said(1, False)), Send("c", Said(1, False))]
    assert rounds.receive(Said(2, False), "c", 0.0) == []
    assert rounds.receive(Said(1, False), "b", 0.0) == [Send("b", Said(2, False)), Send("c", Said(2, False))]
    assert teller.heard == [("b", 1), ("c", 1)]
    assert rounds.deadline is None
    assert rounds.wake(1.0) == ()


def test_nobody_waits_for_last_words_or_for_the_dead() -> None:
    teller = Teller(9)
    rounds = InRounds(teller, ["b", "c", "d"])
    rounds.begin(0.0)
    rounds.receive(Said(1, False), "b", 0.0)
    rounds.receive(Said(1, True), "c", 0.0)
    assert rounds.receive(PeerDown("d"), "a", 0.0) == [Send("b", Said(2, False))]
    assert teller.lost == ["d"]
    assert rounds.receive(Said(2, False), "b", 0.0) == [Send("b", Said(3, False))]
    assert rounds.receive(PeerDown("z"), "a", 0.0) == []
    assert teller.lost == ["d", "z"]


def test_who_is_done_says_so_once_and_is_silent() -> None:
    rounds = InRounds(Teller(2), ["b"])
    rounds.begin(0.0)
    assert rounds.receive(Said(1, False), "b", 0.0) == [Send("b", Said(2, True))]
    assert rounds.receive(Said(2, False), "b", 0.0) == []
    assert rounds.spoken == 2


def test_without_neighbours_it_goes_on_alone_as_long_as_it_has_news() -> None:
    teller = Teller(1)
    assert InRounds(teller, []).begin(0.0) == []
    assert teller.turn == 1


@pytest.mark.parametrize("talk", [InRounds, AtOnce])
def test_strangers(talk: type[InRounds] | type[AtOnce]) -> None:
    with pytest.raises(PeerError, match="no neighbour"):
        talk(Teller(9), ["b"]).receive(Said(1, False), "z", 0.0)


def test_a_neighbour_that_runs_ahead() -> None:
    rounds = InRounds(Teller(9), ["b", "c"])
    rounds.begin(0.0)
    rounds.receive(Said(1, False), "b", 0.0)
    rounds.receive(Said(2, False), "b", 0.0)
    with pytest.raises(PeerError, match="before it can have heard"):
        rounds.receive(Said(3, False), "b", 0.0)


def test_at_once_who_has_news_speaks_but_not_too_often() -> None:
    teller = Teller(9)
    talk = AtOnce(teller, ["b", "c"], pace_s=0.5)
    assert talk.deadline is None
    assert talk.begin(1.0) == [Send("b", Said(1, False)), Send("c", Said(1, False))]
    assert talk.deadline is None
    assert talk.receive(Said(1, False), "b", 1.1) == ()
    assert teller.heard == [("b", 1)]
    assert talk.deadline == 1.5
    assert talk.wake(1.4) == ()
    talk.receive(PeerDown("b"), "a", 1.4)
    assert talk.wake(1.5) == [Send("c", Said(2, False))]
    assert talk.deadline is None
