"""Record before promise, and nothing else waits."""

from __future__ import annotations

from parley.protocols.commitment_words import Hold, Learnt, Pledge, Spec, Talk, TombEntry
from parley.protocols.core import Effect, Record, Run, Send, Stop, Task
from parley.protocols.epochs import Epoch
from parley.protocols.gate import Gate
from parley.protocols.membership import Pong

TASK = Task("T", "k")
RECORD = Record(TombEntry, "T", TombEntry("T"))
PLEDGE = Send("n2", Pledge((Learnt("T", 0),), "n1", "n2"))
TALK = Send("n2", Talk((Hold(Spec(TASK, b"", ("n1",)), Epoch(0, "n1", 1)),), "n1", "n2"))
PONG = Send("n2", Pong())


def passed(gate: Gate, *effects: Effect) -> list[Effect]:
    return [effect for effect in effects if gate.passes(effect)]


def test_what_stands_on_a_record_waits_for_it_and_the_rest_goes_on() -> None:
    gate = Gate(True)
    assert passed(gate, PLEDGE, RECORD, PLEDGE, PONG, TALK) == [PLEDGE, RECORD, PONG, TALK]
    assert gate.number == 1
    assert list(gate.recorded(1)) == [PLEDGE]
    assert passed(gate, PLEDGE) == [PLEDGE]


def test_each_waits_for_those_before_it_only_and_in_order() -> None:
    gate = Gate(True)
    run, stop = Run(TASK, 1, b""), Stop("T", 1)
    assert passed(gate, RECORD, run, RECORD, stop, PLEDGE) == [RECORD, RECORD]
    assert gate.waiting == 3
    assert list(gate.recorded(1)) == [run]
    assert list(gate.recorded(1)) == []
    assert list(gate.recorded(2)) == [stop, PLEDGE]
    assert gate.waiting == 0


def test_without_a_journal_nothing_is_recorded_and_nothing_waits() -> None:
    gate = Gate(False)
    assert passed(gate, RECORD, PLEDGE, Run(TASK, 1, b"")) == [PLEDGE, Run(TASK, 1, b"")]
