"""Calls in Python as tasks: the names of functions, the forms of arguments, and what has none."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from futures_functions import another_name, by_place, coroutine, decorated, power, square, total

from parley.agents.payload import Handed
from parley.launch.futures.calls import Awaited, Function, TaskOptions, kind_of, submission
from parley.launch.problems import Exit
from parley.launch.submission import OPTIONS, TaskRefused

IN_MAIN: dict[str, Any] = {"__name__": "__main__"}
exec("def own(): ...\nnameless = lambda: 0", IN_MAIN)


class Later(Awaited):
    def __init__(self, task: str) -> None:
        self.task = task


class Thing:
    def method(self) -> None: ...

    @staticmethod
    def static() -> None: ...


def plain(value: object) -> object:
    """What stands for a result can be compared."""
    if isinstance(value, Handed):
        return f"<{value.name}>"
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (square, "futures_functions:square"),
        (decorated, "futures_functions:decorated"),
        (another_name, "futures_functions:square"),
        (math.sqrt, "math:sqrt"),
        (len, "builtins:len"),
        ("sleep", "sleep"),
    ],
)
def test_a_function_has_the_name_it_is_imported_by(function: Function, kind: str) -> None:
    assert kind_of(function) == kind


def nested() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (IN_MAIN["own"], "own is defined in the script or notebook itself, which nodes cannot import: put it into a"),
        (IN_MAIN["nameless"], "a lambda is defined in the script or notebook itself"),
        (lambda: 0, "makes a lambda that cannot be imported by name: define it at the top of its module, with def"),
        (nested(), "nested.<locals>.inner of "),
        (Thing().method, "Thing.method is a method, and its object cannot travel"),
        (Thing.static, "Thing.static of "),
        (functools.partial(square, 2), "a partial has no name: submit its function"),
        (functools.lru_cache(len), "builtins:len is not this function but something else"),
        (coroutine, "futures_functions:coroutine is a coroutine or a generator: nodes call plain functions"),
        ([].append, "has no name by which nodes could import it"),
        (7, "a task is a function or the name of a kind, not 7"),
    ],
)
def test_what_nodes_cannot_import_is_one_sentence(function: Any, sentence: str) -> None:
    with pytest.raises(TaskRefused, match=re.escape(sentence)) as refusal:
        kind_of(function)
    assert refusal.value.code is Exit.USAGE
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("function", "arguments", "named", "payload"),
    [
        (square, (), {}, {}),
        (square, (2,), {}, [2]),
        (square, (), {"x": 2}, {"x": 2}),
        (power, (2,), {"less": 1}, {"base": 2, "less": 1}),
        (power, (2, 3), {"less": 1}, {"base": 2, "exponent": 3, "less": 1}),
        (by_place, (1, 2, 3), {}, [1, 2, 3]),
        ("echo", (1, 2), {}, [1, 2]),
        ("command", (), {"argv": ["ls"]}, {"argv": ["ls"]}),
        (total, (Later("a"), 3), {}, ["<a>", 3]),
        (total, ([Later("a"), 1, Later("b")],), {}, [["<a>", 1, "<b>"]]),
        (total, ((Later("a"), 1),), {}, [["<a>", 1]]),
        (total, (), {"values": {"x": Later("a"), "y": 1}, "more": Later("b")}, None),
    ],
)
def test_arguments_are_told_by_place_or_by_name(
    function: Function, arguments: tuple[object, ...], named: dict[str, object], payload: object
) -> None:
    if payload is None:
        payload = {"values": {"x": "<a>", "y": 1}, "more": "<b>"}
    assert plain(submission(function, arguments, named, {}).arguments) == payload


@pytest.mark.parametrize(
    ("function", "arguments", "named", "sentence"),
    [
        ("echo", (1,), {"x": 2}, "echo: give all arguments by name, or all by place"),
        (by_place, (1,), {"y": 2}, "futures_functions:by_place cannot take its first arguments by name"),
        (power, (1, 2, 3), {"less": 2}, "futures_functions:power cannot take its first arguments by name"),
        (power, (1,), {"base": 2}, "futures_functions:power is given base by place and by name"),
    ],
)
def test_arguments_in_no_form(
    function: Function, arguments: tuple[object, ...], named: dict[str, object], sentence: str
) -> None:
    with pytest.raises(TaskRefused, match=re.escape(sentence)):
        submission(function, arguments, named, {})


def test_the_options_become_terms() -> None:
    options: TaskOptions = {"need": ["gpu"], "timeout_s": 60, "after": [Later("a"), "b"], "label": "mine"}
    submits = submission(square, (2,), {}, options, replicas=2).submits()
    assert [submit.label for submit in submits] == ["mine.1", "mine.2"]
    assert submits[0].after == ("a", "b")
    assert submits[0].task.timeout_s == 60.0
    assert submits[0].task.conditions.needs == ("gpu",)


def test_a_task_comes_after_the_futures_that_it_is_given() -> None:
    [submit] = submission(total, ([Later("a"), Later("b")],), {"more": Later("c")}, {}).submits()
    assert sorted(submit.after) == ["a", "b", "c"]


def test_options_that_are_none() -> None:
    with pytest.raises(TaskRefused, match="there is no option needs: the options are work, need, only"):
        submission(square, (2,), {}, {"needs": ["gpu"]})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(TaskRefused, match="a task comes after futures, ids or labels, not after 7"):
        submission(square, (2,), {}, {"after": [7]})


def test_all_that_can_be_said_of_a_task_can_be_said_here() -> None:
    elsewhere = {"replicas", "follow"}
    """One is the business of `submit_replicas`, the other is always the result."""
    assert TaskOptions.__annotations__.keys() | elsewhere == OPTIONS
