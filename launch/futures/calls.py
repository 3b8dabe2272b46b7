"""A call in Python as a task: which kind its function is, and what its arguments travel as.

    tasks.resize(photo, 640)            -> kind "tasks:resize", arguments [photo, 640]
    tasks.resize(photo, width=640)      -> the same kind, arguments {"photo": photo, "width": 640}
    "command", argv=["ls"]              -> kind "command", arguments {"argv": ["ls"]}
    tasks.total([future, other])        -> arguments [[Handed(ID), Handed(ID)]]: their results are put there

No code travels: a node imports the function by its name, so it must have one there. A call by place and by name at once
is told by name, which takes a look at the function's parameters.

Invariant: what has no such form is a TaskRefused of one sentence that says what to do.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypedDict

from ...agents.payload import Handed
from ..problems import Exit
from ..submission import Submission, TaskRefused

Function: TypeAlias = Callable[..., object] | str


class TaskOptions(TypedDict, total=False):
    """What may be said of the tasks of `with_options`; see Submission. `after` takes futures too."""

    work: float | None
    need: Sequence[str]
    only: Sequence[str]
    prefer: Sequence[str]
    priority: int
    reward: float
    deadline_s: float | None
    timeout_s: float
    attempts: int
    after: Sequence[object]
    gang: int | None
    at_most_once: bool
    about: Mapping[str, float | str]
    label: str
    waits: bool
    protocol: str


class Awaited:
    """A future of a task: in the arguments of another call it stands for its result."""

    task: str


def submission(
    function: Function,
    arguments: Sequence[object],
    named: Mapping[str, object],
    options: TaskOptions,
    replicas: int = 1,
) -> Submission:
    """The call as a task. Raises TaskRefused."""
    if unknown := sorted(set(options) - TaskOptions.__annotations__.keys()):
        raise _refused(f"there is no option {unknown[0]}: the options are {', '.join(TaskOptions.__annotations__)}")
    after = [_name(parent) for parent in options.get("after", ())]
    kind = kind_of(function)
    payload = _arguments(function, kind, arguments, named)
    return Submission(kind, payload, **{**options, "after": after}, replicas=replicas)  # type: ignore[arg-type]


def kind_of(function: Function) -> str:
    """`pkg.mod:func`. Raises TaskRefused for what a node cannot import by its name."""
    if isinstance(function, str):
        return function
    if isinstance(function, functools.partial):
        raise _refused("a partial has no name: submit its function, and hand in the arguments with it")
    if not callable(function):
        raise _refused(f"a task is a function or the name of a kind, not {function!r}"[:500])
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise _refused(f"{function!r} has no name by which nodes could import it: submit a function of a module"[:500])
    if inspect.ismethod(function):
        raise _refused(f"{name} is a method, and its object cannot travel: submit a function of a module")
    if module == "__main__":
        what = "a lambda" if name == "<lambda>" else name
        raise _refused(
            f"{what} is defined in the script or notebook itself, which nodes cannot import: "
            "put it into a module, say tasks.py, and import it from there"
        )
    if "<" in name or "." in name:
        what = f"{module} makes a lambda that" if name.endswith("<lambda>") else f"{name} of {module}"
        raise _refused(f"{what} cannot be imported by name: define it at the top of its module, with def")
    if getattr(sys.modules.get(module), name, None) is not function:
        raise _refused(f"{module}:{name} is not this function but something else: give it the name that it is found by")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise _refused(f"{module}:{name} is a coroutine or a generator: nodes call plain functions")
    return f"{module}:{name}"


def _name(parent: object) -> str:
    if isinstance(parent, Awaited):
        return parent.task
    if isinstance(parent, str):
        return parent
    raise _refused(f"a task comes after futures, ids or labels, not after {parent!r}"[:500])


def _arguments(
    function: Function, kind: str, arguments: Sequence[object], named: Mapping[str, object]
) -> list[object] | dict[str, object]:
    if not named:
        return [_stand_in(value) for value in arguments] if arguments else {}
    if arguments:
        named = _all_named(function, kind, arguments, named)
    return {name: _stand_in(value) for name, value in named.items()}


def _all_named(
    function: Function, kind: str, arguments: Sequence[object], named: Mapping[str, object]
) -> Mapping[str, object]:
    """Those given by place get their parameters' names."""
    if isinstance(function, str):
        raise _refused(f"{kind}: give all arguments by name, or all by place")
    try:
        parameters = list(inspect.signature(function).parameters.values())[: len(arguments)]
    except ValueError:
        parameters = []  # some builtins do not tell
    if len(parameters) < len(arguments) or any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
        raise _refused(f"{kind} cannot take its first arguments by name: give all of them by place")
    placed = {one.name: value for one, value in zip(parameters, arguments, strict=True)}
    if twice := sorted(placed.keys() & named.keys()):
        raise _refused(f"{kind} is given {twice[0]} by place and by name")
    return {**placed, **named}


def _stand_in(value: object) -> object:
    """A future as what stands for its result; so in a list, a tuple or a dict, but no deeper."""
    if isinstance(value, Awaited):
        return Handed(value.task)
    if isinstance(value, (list, tuple)) and any(isinstance(item, Awaited) for item in value):
        return [Handed(item.task) if isinstance(item, Awaited) else item for item in value]
    if isinstance(value, dict) and any(isinstance(item, Awaited) for item in value.values()):
        return {key: Handed(item.task) if isinstance(item, Awaited) else item for key, item in value.items()}
    return value


def _refused(sentence: str) -> TaskRefused:
    return TaskRefused(sentence, Exit.USAGE)
