"""Record before promise, and nothing else waits."""

from __future__ import annotations

from parley.protocols.commitment_words import Answer, AwardEntry, Hold, Learnt, Pledge, Spec, Talk, TombEntry
from parley.protocols.core import Effect, Outcome, Record, Run, Send, State, Stop, Task
from parley.protocols.epochs import Epoch
from parley.protocols.gang_words import Lead
from parley.protocols.gate import Gate
from parley.protocols.seeking import Sought, ended
from parley.protocols.swim_words import Ack

TASK = Task("T", "k")
RECORD = Record(TombEntry, "T", TombEntry("T"))
PLEDGE = Send("n2", Pledge((Learnt("T", 0),), "n1", "n2"))
TALK = Send("n2", Talk((Hold(Spec(TASK, b"", ("n1",)), Epoch(0, "n1", 1)),), "n1", "n2"))
ACK = Send("n2", Ack(1))
SIGHTING = ended("T", "k", "", Outcome("T", State.DONE))


def passed(gate: Gate, *effects: Effect) -> list[Effect]:
    return [effect for effect in effects if gate.passes(effect)]


def test_what_stands_on_a_record_waits_for_it_and_the_rest_goes_on() -> None:
    gate = Gate(True)
    assert passed(gate, PLEDGE, RECORD, PLEDGE, ACK, TALK) == [PLEDGE, RECORD, ACK, TALK]
    assert gate.number == 1
    assert list(gate.recorded(1)) == [PLEDGE]
    assert passed(gate, PLEDGE) == [PLEDGE]


def test_how_a_task_has_ended_is_told_when_that_is_on_disk() -> None:
    gate, told = Gate(True), Send("n2", Sought((SIGHTING,)))
    assert passed(gate, RECORD, told) == [RECORD]
    assert list(gate.recorded(1)) == [told]


def answered(task: str) -> Record:
    entry = AwardEntry(task, Epoch(0, "n1", 1), Answer.ACCEPTED, ("n1",), 0)
    return Record(AwardEntry, entry.key, entry)


def test_pledges_wait_for_all_that_was_recorded_before_them() -> None:
    gate = Gate(True)
    assert passed(gate, RECORD, PLEDGE, RECORD, PLEDGE) == [RECORD, RECORD]
    assert gate.waiting == 2
    assert list(gate.recorded(1)) == [PLEDGE]
    assert list(gate.recorded(1)) == []
    assert list(gate.recorded(2)) == [PLEDGE]
    assert gate.waiting == 0


def test_an_attempt_waits_for_the_answer_to_its_own_award_only() -> None:
    gate = Gate(True)
    mine, other = Run(TASK, 1, b""), Run(Task("U", "k"), 1, b"")
    assert passed(gate, answered("U")) == [answered("U")]
    assert list(gate.recorded(1)) == []
    assert passed(gate, answered("T"), mine, other) == [answered("T"), other]
    assert list(gate.recorded(2)) == [mine]


def test_a_gang_is_led_when_its_award_is_answered_on_disk() -> None:
    gate = Gate(True)
    lead = Lead(TASK, 1, b"", auction="a.1.1", members=("n1", "n2"), blobs=(), source="n2")
    assert passed(gate, answered("T"), lead) == [answered("T")]
    assert list(gate.recorded(1)) == [lead]
    assert passed(gate, answered("T"), lead, Stop("T", 1)) == [answered("T")]
    assert list(gate.recorded(2)) == []


def test_what_is_given_up_before_it_could_start_never_starts() -> None:
    gate = Gate(True)
    mine, later = Run(TASK, 1, b""), Run(TASK, 2, b"")
    assert passed(gate, answered("T"), mine, answered("T"), Stop("T", 1)) == [answered("T"), answered("T")]
    assert passed(gate, answered("T"), later) == [answered("T")]
    assert list(gate.recorded(3)) == [later]


def test_what_runs_is_stopped_at_once() -> None:
    gate = Gate(True)
    assert passed(gate, answered("T"), Stop("T", 1)) == [answered("T"), Stop("T", 1)]


def test_without_a_journal_nothing_is_recorded_and_nothing_waits() -> None:
    gate = Gate(False)
    assert passed(gate, RECORD, PLEDGE, Run(TASK, 1, b"")) == [PLEDGE, Run(TASK, 1, b"")]
