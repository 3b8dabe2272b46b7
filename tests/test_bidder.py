"""Bidders of an owner's own: whatever they do, the node answers with a price or with a refusal in one sentence."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import parley
from parley.agents.bidder import AskedTask, BidderError, ThisNode, bidder, valuation_of
from parley.protocols.core import Conditions, Task
from parley.protocols.participant import Asked, Pricing
from parley.protocols.performatives import Reason

USUAL = Pricing((("run", 2.0), ("transfer", 0.5)))
NODE = ThisNode("n1", 4.0, ("gpu", "site=lab"))


@pytest.fixture(autouse=True)
def _only_own_bidders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.agents.bidder._BIDDERS", {})


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[str, Path]]]:
    """Writes an owner's module and answers with its name and folder; it is forgotten afterwards."""
    import sys

    name = f"owner_{abs(hash(request.node.nodeid)):x}"
    path = list(sys.path)

    def write(source: str) -> tuple[str, Path]:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name, tmp_path

    yield write
    sys.path[:] = path
    sys.modules.pop(name, None)


def asked(kind: str = "pick", terms: Conditions | None = None, best_s: float | None = None) -> Asked:
    return Asked(Task("t1", kind, 3.0, terms=terms), "n9", best_s)


class Heard(list[str]):
    """What the owner is told."""

    def __call__(self, sentence: str) -> None:
        self.append(sentence)


def price(task: Asked, usual: Pricing = USUAL, told: Heard | None = None) -> Pricing:
    """What a node says whose bidders are those defined so far."""
    value = valuation_of(
        "parley", lambda asked, now: usual, lambda: NODE, complain=told if told is not None else Heard()
    )
    return value(task, 0.0)


def refusal(function: Callable[[AskedTask], object]) -> tuple[str, list[str]]:
    """The sentence of the refusal that this function leads to, and what its owner is told."""
    bidder("pick")(function)  # type: ignore[type-var]  # it is wrong on purpose
    told = Heard()
    pricing = price(asked(), told=told)
    assert pricing.terms == ()
    assert pricing.decline is Reason.UNWILLING
    assert "\n" not in pricing.detail
    return pricing.detail, told


def test_its_terms_are_the_price() -> None:
    @bidder("pick")
    def pick(task: AskedTask) -> dict[str, float]:
        return {"way": 12, "grasp": 3.5}

    assert price(asked()) == Pricing((("way", 12.0), ("grasp", 3.5)))
    assert pick(None) == {"way": 12, "grasp": 3.5}  # type: ignore[arg-type]  # it is still the function


def test_it_sees_what_is_asked() -> None:
    seen: list[AskedTask] = []
    bidder("pick")(lambda task: seen.append(task))
    terms = Conditions(
        needs=("gpu",), amounts=(("vram", 8.0),), deadline_s=30.0, priority=5, reward=2.5, about=(("shelf", "A7"),)
    )
    assert price(asked(terms=terms, best_s=7.0)) == USUAL
    assert seen == [
        AskedTask(
            id="t1", kind="pick", work=3.0, about={"shelf": "A7"}, need={"gpu": True, "vram": 8.0}, deadline_s=30.0,
            priority=5, reward=2.5, best_s=7.0, usual={"run": 2.0, "transfer": 0.5}, node=NODE,
        )
    ]  # fmt: skip


def test_it_adds_to_the_usual_price() -> None:
    bidder("pick")(lambda task: task.usual | {"battery": 60.0})
    assert price(asked()) == Pricing((("run", 2.0), ("transfer", 0.5), ("battery", 60.0)))


def test_a_sentence_is_a_refusal() -> None:
    assert refusal(lambda task: "the battery is low") == ("the battery is low", [])
    assert refusal(lambda task: "  two\nlines ") == ("two lines", [])
    assert refusal(lambda task: "") == ("do not want it", [])
    assert refusal(lambda task: "lone \ud800") == ("lone \\ud800", [])
    assert refusal(lambda task: "x" * 10_000)[0] == "x" * 500


def test_numpy_numbers_are_seconds() -> None:
    bidder("pick")(lambda task: {"way": np.float32(1.5), "grasp": np.int64(2)})  # type: ignore[type-var]
    pricing = price(asked())
    assert pricing == Pricing((("way", 1.5), ("grasp", 2.0)))
    assert {type(seconds) for _, seconds in pricing.terms} == {float}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (7.0, "float, where a dict of seconds, a sentence or None is due"),
        ([("way", 1.0)], "list, where"),
        ({"way": -1.0}, "way is -1.0, where seconds from 0 to 1e+09 are due"),
        ({"way": math.nan}, "way is nan, where"),
        ({"way": math.inf}, "way is inf, where"),
        ({"way": 1e10}, "way is 10000000000.0, where"),
        ({"way": "far"}, "way is 'far', where"),
        ({"way": None}, "way is None, where"),
        ({"way": 10**400}, "where seconds"),
        ({"": 1.0}, "the term '', where a name of 1 to 32 characters is due"),
        ({"x" * 33: 1.0}, "where a name of 1 to 32 characters is due"),
        ({7: 1.0}, "the term 7, where"),
        ({"a\nb": 1.0}, "where a name"),
        ({"queue": 1.0}, "the term 'queue', which the node adds itself"),
        ({f"t{number}": 1.0 for number in range(15)}, "15 terms, 13 is the most"),
    ],
)
def test_what_is_no_price_is_a_refusal(answer: object, wrong: str) -> None:
    detail, told = refusal(lambda task: answer)
    assert detail.startswith("have a bidder that answered what is no price: ")
    assert wrong in detail
    assert len(told) == 1
    assert "test_what_is_no_price_is_a_refusal" in told[0]


@pytest.mark.parametrize("raised", [KeyError("shelf"), SystemExit(3), GeneratorExit(), RecursionError("deep")])
def test_what_it_raises_is_a_refusal(raised: BaseException) -> None:
    def fails(task: AskedTask) -> dict[str, float]:
        raise raised

    detail, told = refusal(fails)
    assert detail.startswith(f"have a bidder that failed: {type(raised).__name__}")
    assert len(told) == 1
    assert "(test_bidder.py, line" in told[0]


def test_an_exception_without_a_text_is_one_too() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fails(task: AskedTask) -> dict[str, float]:
        raise Mute

    assert refusal(fails)[0] == "have a bidder that failed: Mute"


def test_an_interrupt_is_not_caught() -> None:
    def interrupted(task: AskedTask) -> dict[str, float]:
        raise KeyboardInterrupt

    bidder("pick")(interrupted)
    with pytest.raises(KeyboardInterrupt):
        price(asked())


def test_each_complaint_is_told_once() -> None:
    told = Heard()
    answers = iter([{"way": -1.0}, {"way": -1.0}, 7.0, {"way": -1.0}])
    bidder("pick")(lambda task: next(answers))  # type: ignore[type-var]
    value = valuation_of("parley", lambda asked, now: USUAL, lambda: NODE, complain=told)
    assert [value(asked(), 0.0).decline for _ in range(4)] == [Reason.UNWILLING] * 4
    assert len(told) == 2


def test_a_complaint_goes_to_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    bidder("pick")(lambda task: 7)  # type: ignore[type-var]
    valuation_of("parley", lambda asked, now: USUAL, lambda: NODE)(asked(), 0.0)
    said = capsys.readouterr().err
    assert said.startswith("parley: the bidder ")
    assert said.count("\n") == 1


def test_a_slow_bidder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.3, 20.0, 20.01])
    monkeypatch.setattr("parley.agents.bidder.time.perf_counter", lambda: next(clock))
    bidder("pick")(lambda task: {"way": 1.0})
    told = Heard()
    assert price(asked(), told=told) == Pricing((("way", 1.0),))
    assert [sentence.partition(" is slow")[2] for sentence in told] == [
        ", and its agent hears nothing meanwhile: 0.05 s is much, it took 0.30 s"
    ]
    told.clear()
    price(asked(), told=told)
    assert told == []


@pytest.mark.parametrize("reason", sorted(Reason))
def test_what_the_node_declines_stays_declined(reason: Reason) -> None:
    def never(task: AskedTask) -> dict[str, float]:
        raise AssertionError("it was asked")

    bidder("pick")(never)
    usual = Pricing(decline=reason, detail="lack capability gpu")
    assert price(asked(), usual) == usual


def test_kinds_and_patterns() -> None:
    bidder("chat:*")(lambda task: {"any": 1.0})
    bidder("chat:llama3")(lambda task: {"llama": 2.0})
    assert price(asked("chat:llama3")) == Pricing((("llama", 2.0),))
    assert price(asked("chat:qwen")) == Pricing((("any", 1.0),))
    assert price(asked("echo")) == USUAL
    bidder("chat:llama3")(lambda task: {"last": 3.0})
    assert price(asked("chat:llama3")) == Pricing((("last", 3.0),))


@pytest.mark.parametrize("kind", ["", None, len])
def test_a_bidder_is_of_a_kind(kind: object) -> None:
    with pytest.raises(TypeError, match="name the kind"):
        bidder(kind)  # type: ignore[arg-type]


def test_a_module_of_bidders(module: Callable[[str], tuple[str, Path]]) -> None:
    name, folder = module(
        """
        from parley import bidder

        @bidder("pick")
        def pick(task):
            return {"way": float(task.about["metres"]) / task.node.speed}
        """
    )
    value = valuation_of(name, lambda asked, now: USUAL, lambda: NODE, code=[folder])
    assert value(asked(terms=Conditions(about=(("metres", 20.0),))), 0.0) == Pricing((("way", 5.0),))
    assert value(asked("echo"), 0.0) == USUAL


def test_a_valuation_of_all_kinds(module: Callable[[str], tuple[str, Path]]) -> None:
    name, folder = module(
        """
        from parley import AskedTask, bidder

        def night(task: AskedTask):
            if task.reward < 1.0:
                return "it is night, and too little is paid"
            return None if task.kind == "echo" else {name: 2 * s for name, s in task.usual.items()}

        @bidder("pick")
        def pick(task: AskedTask):
            return {"way": 1.0}
        """
    )
    value = valuation_of(f"{name}:night", lambda asked, now: USUAL, lambda: NODE, code=[folder])
    paid = Conditions(reward=2.0)
    assert value(asked("sleep"), 0.0) == Pricing(decline=Reason.UNWILLING, detail="it is night, and too little is paid")
    assert value(asked("sleep", paid), 0.0) == Pricing((("run", 4.0), ("transfer", 1.0)))
    assert value(asked("echo", paid), 0.0) == USUAL
    assert value(asked("pick"), 0.0) == Pricing((("way", 1.0),))  # a kind's own bidder goes first


@pytest.mark.parametrize(
    ("source", "function", "sentence"),
    [
        (None, "", "cannot be imported in {folder}: ModuleNotFoundError: No module named '{name}'"),
        ("1 / 0", "", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def other(task): pass", ":night", "{name} has no function night that could be the valuation"),
        ("night = 7", ":night", "{name} has no function night that could be the valuation"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    module: Callable[[str], tuple[str, Path]], tmp_path: Path, source: str | None, function: str, sentence: str
) -> None:
    name, folder = module(source) if source else (f"nobody_{tmp_path.name}", tmp_path)
    with pytest.raises(BidderError) as raised:
        valuation_of(name + function, lambda asked, now: USUAL, lambda: NODE, code=[folder])
    assert sentence.format(name=name, folder=folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_it_is_in_the_face() -> None:
    assert parley.bidder is bidder
    assert parley.AskedTask is AskedTask
