"""What may be asked for when a task is handed in: what it comes to, and every mistake as one sentence."""

from __future__ import annotations

import dataclasses
import re

import pytest

from parley.agents.payload import Handed, pack
from parley.launch.problems import Exit
from parley.launch.submission import OPTIONS, Submission, TaskRefused, new_task_id
from parley.protocols.core import Conditions, Task
from parley.protocols.requests import MESSAGES, Follow, Submit
from parley.transport.clock import HybridClock
from parley.transport.codec import Codec


def only_one(submission: Submission) -> Submit:
    [submit] = submission.submits()
    return submit


def test_a_plain_task_is_a_new_one_each_time() -> None:
    submission = Submission("echo", [1])
    first, second = only_one(submission), only_one(submission)
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{12}", first.task.id)
    assert first.task.id != second.task.id
    assert first == Submit(Task(first.task.id, "echo", None, len(pack([1]))), pack([1]))
    assert first.task.terms is None, "what asks for nothing says nothing on the wire"


def test_ids_are_drawn_from_all_there_are() -> None:
    ids = [new_task_id() for _ in range(500)]
    assert len(set(ids)) == 500
    assert set("".join(ids)) == set("0123456789abcdefghjkmnpqrstvwxyz")


def test_all_that_can_be_said_of_a_task() -> None:
    submit = only_one(
        Submission(
            "m:f",
            {},
            work=2,
            need=["gpu", "vram=8GiB", "vram=4GiB", "site=lab"],
            only=["a", "b", "a"],
            prefer=["gpu:5s", "site=lab:1m", "gpu:2s"],
            priority=3,
            reward=7,
            deadline_s=60,
            timeout_s=5,
            attempts=2,
            after=["x", "y"],
            at_most_once=True,
            about={"shelf": 7, "way": "left"},
            label="mine",
            waits=True,
            follow=Follow.OUTPUT,
        )
    )
    terms = Conditions(
        ("gpu", "site=lab"),
        (("vram", 8 * 2.0**30),),
        ("a", "b"),
        60.0,
        3,
        7.0,
        (("shelf", 7.0), ("way", "left")),
        True,
        prefers=(("gpu", 5.0), ("site=lab", 60.0)),
    )
    assert submit.task == Task(submit.task.id, "m:f", 2.0, 1, 5.0, 2, terms)
    assert (submit.label, submit.after, submit.waits, submit.follow) == ("mine", ("x", "y"), True, Follow.OUTPUT)


def test_what_is_taken_can_be_said() -> None:
    """The bounds here are those of the wire."""
    from parley.transport.links import Links

    longest = Submission(
        "k" * 128,
        None,
        work=1e9,
        need=[f"t{i}" for i in range(16)],
        only=["o" * 128] * 16,
        priority=-1000,
        reward=1e18,
        deadline_s=1e9,
        timeout_s=1e9,
        attempts=100,
        after=[f"{i:064}" for i in range(256)],
        replicas=64,
        about={f"{i:064}": "x" * 256 for i in range(16)},
        label="l" * 61,
    )
    there, here = (Links(name, 1, Codec(MESSAGES), HybridClock(lambda: 1.0)) for name in ("there", "here"))
    here.connect("there", 1, "route", 0.0)
    there.connect("here", 1, "route", 0.0)
    submits = longest.submits()
    for submit in submits:
        here.send("there", submit)
    heard = [told for _, frame in here.flush(0.0) for told in there.receive(frame, "route", 0.0).deliveries]
    assert [message for _, message, _ in heard] == submits[: len(heard)]
    assert heard


def test_replicas_have_an_origin_in_common_and_labels_of_their_own() -> None:
    submits = Submission("echo", [1], replicas=3, label="draw").submits()
    origin = submits[0].task.origin
    assert [submit.task.id for submit in submits] == [f"{origin}/1", f"{origin}/2", f"{origin}/3"]
    assert [submit.label for submit in submits] == ["draw.1", "draw.2", "draw.3"]


def test_a_task_comes_after_those_whose_results_it_takes() -> None:
    submit = only_one(Submission("echo", {"a": [Handed("x"), (Handed("y"),)], "b": Handed("x")}, after=["z", "x"]))
    assert submit.after == ("z", "x", "y")
    assert submit.payload == pack({"a": [Handed("x"), [Handed("y")]], "b": Handed("x")})


@pytest.mark.parametrize(
    ("argument", "work"),
    [
        ({"seconds": 2}, 2.0),
        ({"seconds": 0.5}, 0.5),
        ({"seconds": -1}, None),
        ({"seconds": True}, None),
        ({"seconds": float("nan")}, None),
        ({}, None),
        ([3], None),
    ],
)
def test_a_sleep_knows_its_work(argument: object, work: float | None) -> None:
    assert only_one(Submission("sleep", argument)).task.work == work
    assert only_one(Submission("sleep", argument, work=9)).task.work == 9.0
    assert only_one(Submission("echo", argument)).task.work is None


@pytest.mark.parametrize(
    ("argv", "like"),
    [
        (["/usr/bin/python3", "dir/train.py", "--lr", "3"], "python3 train.py"),
        (["python", "-m", "http.server"], "python -m http.server"),
        (["python", "-m"], "python"),
        (["bash", "run.sh"], "bash run.sh"),
        (["convert", "img001.png"], "convert"),
        (["sleep", "5"], "sleep"),
        (["./train"], "train"),
        (["x" * 100], "x" * 64),
    ],
)
def test_estimators_can_tell_commands_apart(argv: list[str], like: str) -> None:
    terms = only_one(Submission("command", {"argv": argv})).task.terms
    assert terms is not None
    assert terms.about == (("like", like),)


def test_who_says_what_a_command_is_like_is_believed() -> None:
    terms = only_one(Submission("command", {"argv": ["a"]}, about={"like": "b", "n": 1})).task.terms
    assert terms is not None
    assert dict(terms.about) == {"like": "b", "n": 1.0}


@pytest.mark.parametrize("argument", [{"argv": []}, {"argv": [7]}, {}, [], None])
def test_what_is_no_command_is_like_nothing(argument: object) -> None:
    assert only_one(Submission("command", argument)).task.terms is None, "the executor says what is wrong with it"


BAD: list[tuple[dict[str, object], str]] = [
    ({"kind": ""}, "a kind has 1 to 128 characters"),
    ({"kind": "k" * 129}, "a kind has 1 to 128 characters"),
    ({"kind": 7}, "a kind has 1 to 128 characters"),
    ({"work": -1}, "work is from 0 to 1e+09, not -1"),
    ({"work": float("nan")}, "work is from 0 to 1e+09, not nan"),
    ({"work": "2"}, "work is a number, not '2'"),
    ({"work": True}, "work is a number, not True"),
    ({"timeout_s": 0}, "timeout_s is above 0 to 1e+09, not 0"),
    ({"timeout_s": float("inf")}, "timeout_s is above 0 to 1e+09, not inf"),
    ({"timeout_s": None}, "timeout_s is a number, not None"),
    ({"deadline_s": 0}, "deadline_s is above 0 to 1e+09, not 0"),
    ({"attempts": 0}, "attempts is a whole number from 1 to 100, not 0"),
    ({"attempts": 2.5}, "attempts is a whole number from 1 to 100, not 2.5"),
    ({"replicas": 65}, "replicas is a whole number from 1 to 64, not 65"),
    ({"priority": 1001}, "priority is a whole number from -1000 to 1000, not 1001"),
    ({"reward": -1}, "reward is from 0 to 1e+18, not -1"),
    ({"need": "gpu"}, "need is a list of words: write need=['gpu']"),
    ({"need": [7]}, "need is a list of words, not [7]"),
    ({"need": ["vram>8GiB"]}, "'vram>8GiB' is no need"),
    ({"need": ["vram>=lots"]}, "'lots' is no amount"),
    ({"need": [f"t{i}" for i in range(17)]}, "need has 16 entries at most, not 17"),
    ({"only": ["a b"]}, "'a b' is no tag"),
    ({"prefer": ["gpu"]}, "'gpu' is no preference: write a tag and what it is worth, as gpu:30s"),
    ({"prefer": ["a b:5s"]}, "'a b:5s' is no preference"),
    ({"only": "lab"}, "only is a list of words: write only=['lab']"),
    ({"after": "x"}, "after is a list of words: write after=['x']"),
    ({"after": [""]}, "'' names no task to come after"),
    ({"after": ["x" * 65]}, "names no task to come after"),
    ({"after": ["x"] * 257}, "after has 256 entries at most, not 257"),
    ({"label": "a/b"}, "'a/b' is no label: use up to 64 letters, digits, . _ and -"),
    ({"label": "l" * 65}, "is no label"),
    ({"label": "l" * 63, "replicas": 2}, "is no label"),
    ({"about": [1]}, "about is a dict of facts"),
    ({"about": {7: 1}}, "about: a fact has a name of 1 to 64 characters, not 7"),
    ({"about": {"x": None}}, "about: x is a number, not None"),
    ({"about": {"x": float("inf")}}, "about: x is from -1e+18 to 1e+18, not inf"),
    ({"about": {"x": "y" * 257}}, "about: x has 256 characters at most"),
    ({"about": {f"x{i}": 1 for i in range(17)}}, "about holds 16 facts at most, not 17"),
    ({"arguments": {1, 2}}, "a set cannot travel"),
    ({"arguments": [Handed(f"x{i}") for i in range(257)]}, "a task comes after 256 others at most, not 257"),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD, ids=[sentence[:60] for _, sentence in BAD])
def test_a_mistake_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(TaskRefused, match=re.escape(sentence)) as refusal:
        Submission(**{"kind": "echo", "arguments": [], **changes}).submits()  # type: ignore[arg-type]
    assert refusal.value.code is Exit.USAGE
    assert "\n" not in str(refusal.value)


def test_a_changed_submission_is_checked_again() -> None:
    plain = Submission("echo", [1])
    assert only_one(dataclasses.replace(plain, priority=5)).task.conditions.priority == 5
    with pytest.raises(TaskRefused):
        dataclasses.replace(plain, priority=5000)


def test_the_options_are_those_of_the_form() -> None:
    assert {"need", "work", "after", "waits"} <= OPTIONS
    assert not {"kind", "arguments", "terms"} & OPTIONS


ASKED = {
    "need": ["gpu"], "only": ["a"], "prefer": ["gpu:5s"], "priority": 1, "reward": 2.0, "deadline_s": 60.0, "gang": 2,
    "at_most_once": True, "protocol": "prices", "about": {"shelf": 7},
}  # fmt: skip
BESIDE = {
    "work": 1.0, "timeout_s": 5.0, "attempts": 2, "after": ["x"], "replicas": 2, "label": "mine", "waits": True,
    "follow": Follow.OUTPUT,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_whatever_is_asked_of_nodes_is_in_the_terms_and_nothing_else_is(name: str) -> None:
    said = {**ASKED, **BESIDE}[name]
    assert (Submission("echo", [1], **{name: said}).terms is not None) == (name in ASKED)  # type: ignore[arg-type]
