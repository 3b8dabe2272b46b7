"""A file of tasks, one JSON object a line, as submissions: of any size, line by line.

    {"kind": "train:shard", "args": {"shard": 3}, "id": "s3", "need": ["gpu", "vram=8GiB"], "timeout_s": 600}
    {"kind": "train:mean", "args": [{"$result": "s3"}], "after": ["s3"]}

`id` is a label of your own, by which later lines may come `after` this one. `{"$result": "s3"}` in the arguments stands
for the result of s3. `gang` is how many members it has, which run at once on slots of whatever nodes; `need` may say
how many slots of its node each takes. `about` is what bidders may know of it, as {"metres": 3}; `bytes`, which is told
them with it, how much it must fetch from elsewhere. What a line does not say is taken from the flags.

Invariant: a line that is no task is one sentence with its number; nothing is read beyond it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec

from ..agents.payload import Handed
from ..protocols.requests import Follow
from .lines import Lines
from .problems import Exit, Problem, did_you_mean
from .submission import Submission
from .task_options import Terms

RESULT = "$result"
"""The one key of an object that stands for the result of another task."""
BYTES_FACT = "bytes"
"""The fact by which bidders know what a task must fetch."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    args: dict[str, object] | list[object]
    id: str | None = None
    work: float | None = None
    need: list[str] | str | None = None
    only: list[str] | str | None = None
    prefer: list[str] | str | None = None
    priority: int | None = None
    reward: float | None = None
    deadline_s: float | None = None
    timeout_s: float | None = None
    attempts: int | None = None
    after: list[str] | str | None = None
    replicas: int | None = None
    gang: int | None = None
    about: dict[str, float | str] | None = None
    bytes: int | None = None
    at_most_once: bool | None = None
    protocol: str | None = None


T = TypeVar("T")

_DECODER = msgspec.json.Decoder(_Line)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WRONG = re.compile(r"Expected `(.*)`, got `(.*?)`(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WORDS = {
    "object": "an object",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


async def submissions(file: Lines, terms: Terms, follow: Follow) -> AsyncIterator[Submission]:
    """What the lines ask for. Raises Problem: one sentence that begins with the line's number."""
    async for line in file:
        if line.isspace() or not line:
            continue
        try:
            yield submission(line, terms, follow)
        except (Problem, ValueError) as error:
            raise Problem(f"line {file.number} of {file.name}: {error}", Exit.USAGE) from None


def submission(line: bytes, terms: Terms, follow: Follow = Follow.RESULT) -> Submission:
    """What one line asks for. Raises ValueError or TaskRefused, of one sentence."""
    said = _read(line)
    if said.bytes is not None and said.bytes < 0:
        raise ValueError(f"bytes is 0 or more, not {said.bytes}")
    about = dict(terms.about) if said.about is None else said.about
    if said.bytes is not None:
        about |= {BYTES_FACT: float(said.bytes)}
    arguments = filled(said.args) if RESULT.encode() in line else said.args
    return Submission(
        said.kind,
        arguments,
        work=_or(said.work, terms.work),
        need=_words(said.need, terms.need),
        only=_words(said.only, terms.only),
        prefer=_words(said.prefer, terms.prefer),
        priority=_or(said.priority, terms.priority),
        reward=_or(said.reward, terms.reward),
        deadline_s=_or(said.deadline_s, terms.deadline_s),
        timeout_s=_or(said.timeout_s, terms.timeout_s),
        attempts=_or(said.attempts, terms.attempts),
        after=_words(said.after, terms.after),
        replicas=_or(said.replicas, terms.replicas),
        gang=_or(said.gang, terms.gang),
        at_most_once=_or(said.at_most_once, terms.at_most_once),
        protocol=_or(said.protocol, terms.protocol),
        about=about,
        label=_or(said.id, terms.label),
        waits=terms.waits,
        follow=follow,
    )


def filled(arguments: object) -> object:
    """The arguments with `Handed(name)` where they say {"$result": name}."""
    match arguments:
        case {"$result": str(name), **rest} if not rest:
            return Handed(name)
        case dict():
            return {key: filled(value) for key, value in arguments.items()}
        case list():
            return [filled(value) for value in arguments]
    return arguments


def _read(line: bytes) -> _Line:
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error))) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("lists and objects are nested too deep") from None


def _explained(said: str) -> str:
    """What msgspec finds wrong, in the words of whoever wrote the line."""
    if unknown := _UNKNOWN.fullmatch(said):
        near = did_you_mean(unknown[1], _Line.__struct_fields__)
        return f"there is no key {unknown[1]!r}{near or ': the keys are ' + ', '.join(_Line.__struct_fields__)}"
    if missing := _MISSING.fullmatch(said):
        return f"{missing[1]} is missing"
    if wrong := _WRONG.fullmatch(said):
        wanted = " or ".join(_WORDS.get(word, word) for word in wrong[1].split(" | ") if word != "null")
        if not wrong[3]:
            return f'a task is {wanted}, as {{"kind": "echo", "args": {{}}}}, not {_WORDS.get(wrong[2], wrong[2])}'
        return f"{wrong[3]} is {wanted}, not {_WORDS.get(wrong[2], wrong[2])}"
    return said


def _or(said: T | None, flag: T) -> T:
    return flag if said is None else said


def _words(said: list[str] | str | None, flags: tuple[str, ...]) -> tuple[str, ...]:
    """One word may stand for a list of one."""
    if said is None:
        return flags
    return (said,) if isinstance(said, str) else tuple(said)
