"""What a node has told its log of a task: asked, searched, answered once; a bounded number at a time."""

from __future__ import annotations

import pytest

from parley.protocols.core import ProtocolError, Send
from parley.protocols.requests import NotFound
from parley.protocols.retelling import SEARCHES_MAX, AskLines, FindLines, LinesFound, LinesTold, Retelling
from parley.protocols.swim_words import Ping


def test_a_question_has_one_answer() -> None:
    role = Retelling()
    assert role.receive(AskLines(7, "t"), "client", 0.0) == [FindLines("client", 7, "t")]
    told = role.receive(LinesFound("client", 7, (b"{}",), 3), "n1", 0.1)
    assert told == [Send("client", LinesTold(7, (b"{}",), 3))]
    assert role.deadline is None
    assert role.wake(1.0) == ()


def test_only_so_many_are_searched_for_at_once() -> None:
    role = Retelling()
    for request in range(SEARCHES_MAX):
        role.receive(AskLines(request, "t"), "client", 0.0)
    [refused] = role.receive(AskLines(99, "t"), "client", 0.0)
    assert isinstance(refused, Send)
    assert isinstance(refused.message, NotFound)
    assert "already" in refused.message.error
    role.receive(LinesFound("client", 0, (), 0), "n1", 0.1)
    assert role.receive(AskLines(100, "t"), "client", 0.2) == [FindLines("client", 100, "t")]


def test_it_is_told_nothing_else() -> None:
    with pytest.raises(ProtocolError):
        Retelling().receive(Ping(1), "n2", 0.0)
