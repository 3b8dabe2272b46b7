"""What a person asks for when handing a task in, checked, and the messages that say it to an agent.

    Submission("command", {"argv": ["python", "train.py"]}, need=["vram=8GiB"], replicas=2)
        .submits() -> [Submit(Task("4gk0s9x2m1qz/1", ...)), Submit(Task("4gk0s9x2m1qz/2", ...))]

Commands, files of tasks and Python fill in the same form, so that all of them offer the same and refuse the same. Every
call of `submits` makes new tasks. A replica is a task of its own, which runs on a node of its own.

Invariant: what was made can be handed in. Every mistake is one sentence, told before anything leaves.
"""

from __future__ import annotations

import dataclasses
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, field
from operator import attrgetter
from pathlib import PurePath
from tempfile import gettempdir
from types import MappingProxyType

from ..agents.blobs import references
from ..agents.payload import Handed, PayloadError, lift
from ..protocols.core import GANG_MAX, NO_CONDITIONS, SLOTS, Conditions, Dividing, Reference, Task
from ..protocols.requests import AFTER_MAX, Follow, Submit
from . import units
from .problems import Exit, Problem
from .spool import SPOOL

ATTEMPTS_MAX = 100
REPLICAS_MAX = 64
TERMS_MAX = 16
"""So many needs, tags to choose from, and facts about itself a task may have, each."""
PREFERENCES_MAX = 8
KIND_CHARACTERS_MAX = 128
HANDLE_CHARACTERS_MAX = 64
FACT_CHARACTERS_MAX = 256
LIKE_CHARACTERS_MAX = 64
PRIORITY_MAX = 1_000
NUMBER_MAX = 1e18
LIKE = "like"
"""The fact by which estimators tell commands apart."""
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in CROCKFORD for second in CROCKFORD]

_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SCRIPT = re.compile(r"[\w.+-]+\.(?:py|pyz|sh|bash|zsh|fish|js|mjs|ts|rb|pl|lua|php|jl|r|R|m|jar)")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
_NO_FACTS: Mapping[str, float | str] = MappingProxyType({})


class TaskRefused(Problem):
    """The task cannot be handed in as it is."""


def new_task_id() -> str:
    """12 random Crockford base-32 characters."""
    bits, pairs = secrets.randbits(60), _PAIRS
    return (
        pairs[bits & 1023] + pairs[bits >> 10 & 1023] + pairs[bits >> 20 & 1023]
        + pairs[bits >> 30 & 1023] + pairs[bits >> 40 & 1023] + pairs[bits >> 50]
    )  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """A task as its owner describes it. Raises TaskRefused, with the exit code of a wrong usage, where it is made.

    `work`: seconds on a node of speed 1, if known; those of `sleep` are. `need`: what its node must have, as "gpu" or
    "vram=8GiB"; `only`: tags, it may go only where one of them is; `prefer`: tags that are worth waiting for,
    as "site=lab:30s". `deadline_s`: in so many seconds it must be done;
    `timeout_s`: so long one attempt may take; `attempts`: how often it is tried. `after`: ids or labels of tasks that
    must be done before; where the arguments say `Handed(name)`, the result of that one is put, and it need not be named
    here. `gang`: so many members run at once, each on slots of its own, on whatever nodes; the value is the list of
    theirs, by rank. `about`: what bidders may know of it. `waits`: if nobody can run it, it waits until somebody can.
    """

    kind: str
    arguments: object
    _: KW_ONLY
    work: float | None = None
    need: Sequence[str] = ()
    only: Sequence[str] = ()
    prefer: Sequence[str] = ()
    priority: int = 0
    reward: float = 0.0
    deadline_s: float | None = None
    timeout_s: float = 3600.0
    attempts: int = 3
    after: Sequence[str] = ()
    replicas: int = 1
    gang: int | None = None
    at_most_once: bool = False
    protocol: str = Dividing.AUTO
    about: Mapping[str, float | str] = field(default_factory=lambda: _NO_FACTS)
    label: str = ""
    waits: bool = False
    follow: Follow = Follow.RESULT
    terms: Conditions | None = field(init=False, repr=False, compare=False)
    """What `need` and the rest come to; None: nothing is asked."""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not 1 <= len(self.kind) <= KIND_CHARACTERS_MAX:
            raise _refused(f"a kind has 1 to {KIND_CHARACTERS_MAX} characters")
        if self.work is None and self.kind == "sleep":
            object.__setattr__(self, "work", _seconds_of_sleep(self.arguments))
        if self.work is not None:
            _check_number("work", self.work, 0.0, units.SECONDS_MAX)
        _check_number("timeout_s", self.timeout_s, 0.0, units.SECONDS_MAX, above=True)
        _check_whole("attempts", self.attempts, 1, ATTEMPTS_MAX)
        _check_whole("replicas", self.replicas, 1, REPLICAS_MAX)
        if self.gang is not None:
            _check_whole("gang", self.gang, 1, GANG_MAX)
            if self.replicas > 1:
                raise _refused("a gang has no replicas: hand it in once for each")
        self._check_names()
        object.__setattr__(self, "terms", self._conditions())

    def submits(self) -> list[Submit]:
        """New tasks of this form: one, or one per replica. Raises TaskRefused for an argument that cannot travel."""
        try:
            payload, lifted = lift(self.arguments, SPOOL)
        except PayloadError as error:
            raise _refused(str(error)) from None
        except OSError as error:
            raise _refused(f"there is no room for a large value in {gettempdir()}: {error.strerror or error}") from None
        blobs = references(lifted)
        after = tuple(dict.fromkeys([*self.after, *_handed(self.arguments)]))
        if len(after) > AFTER_MAX:
            raise _refused(f"a task comes after {AFTER_MAX} others at most, not {len(after)}")
        origin = new_task_id()
        places = [""] if self.replicas == 1 else [str(place) for place in range(1, self.replicas + 1)]
        return [self._submit(origin, place, payload, after, blobs) for place in places]

    def _submit(
        self, origin: str, place: str, payload: bytes, after: tuple[str, ...], blobs: tuple[Reference, ...]
    ) -> Submit:
        task = Task(
            f"{origin}/{place}" if place else origin,
            self.kind,
            None if self.work is None else float(self.work),
            len(payload),
            float(self.timeout_s),
            self.attempts,
            self.terms,
            tuple([blob.hint for blob in blobs]),
        )
        label = f"{self.label}.{place}" if self.label and place else self.label
        return Submit(task, payload, self.follow, label, after, self.waits, blobs)

    def _check_names(self) -> None:
        """The words of its label and of those it comes after."""
        longest = f"{self.label}.{self.replicas}" if self.label and self.replicas > 1 else self.label
        if longest and not _LABEL.fullmatch(longest):
            raise _refused(f"{self.label!r} is no label: use up to 64 letters, digits, . _ and -")
        _check_list("after", self.after, AFTER_MAX)
        for name in self.after:
            if not 1 <= len(name) <= HANDLE_CHARACTERS_MAX:
                raise _refused(f"{name!r} names no task to come after: use its id or its label")

    def _conditions(self) -> Conditions | None:
        _check_whole("priority", self.priority, -PRIORITY_MAX, PRIORITY_MAX)
        _check_number("reward", self.reward, 0.0, NUMBER_MAX)
        if _asked(self) == _NOTHING and self.kind != "command":
            return None  # as most are
        if self.deadline_s is not None:
            _check_number("deadline_s", self.deadline_s, 0.0, units.SECONDS_MAX, above=True)
        tags, amounts = _needs(self.need)
        terms = Conditions(
            tags,
            amounts,
            _only(self.only),
            None if self.deadline_s is None else float(self.deadline_s),
            self.priority,
            float(self.reward),
            _facts(self.kind, self.arguments, self.about),
            bool(self.at_most_once),
            _dividing(self.protocol),
            _prefers(self.prefer),
            self.gang or 0,
        )
        return None if terms == NO_CONDITIONS else terms


OPTIONS = frozenset(one.name for one in dataclasses.fields(Submission) if one.init) - {"kind", "arguments"}
"""What may be said of a task beside what it is."""
_NO_TERMS = {"work", "timeout_s", "attempts", "after", "replicas", "label", "waits", "follow"}
"""Those that its conditions do not depend on. Whatever is not named here is a term, and looked at."""
_TERMS = [one for one in dataclasses.fields(Submission) if one.name in OPTIONS - _NO_TERMS]
_asked = attrgetter(*[one.name for one in _TERMS])
_NOTHING = tuple([one.default if one.default_factory is MISSING else one.default_factory() for one in _TERMS])


def _dividing(name: str) -> Dividing:
    try:
        return Dividing(name)
    except ValueError:
        raise _refused(f"protocol is one of {', '.join(Dividing)}, not {name!r}") from None


def _refused(sentence: str) -> TaskRefused:
    return TaskRefused(sentence, Exit.USAGE)


def _check_number(name: str, value: object, least: float, most: float, *, above: bool = False) -> None:
    """`above`: the least itself is too little."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _refused(f"{name} is a number, not {value!r}")
    if not (least < value if above else least <= value) or value > most or math.isnan(value):
        raise _refused(f"{name} is {'above' if above else 'from'} {least:g} to {most:g}, not {value!r}")


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _refused(f"{name} is a whole number from {least} to {most}, not {value!r}")


def _check_list(name: str, words: object, most: int) -> None:
    if isinstance(words, str):
        raise _refused(f"{name} is a list of words: write {name}=[{words!r}]")
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise _refused(f"{name} is a list of words, not {words!r}")
    if len(words) > most:
        raise _refused(f"{name} has {most} entries at most, not {len(words)}")


def _needs(needs: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, float], ...]]:
    """Tags, and how much of what: the most, where one is named twice."""
    if not needs:
        return (), ()
    _check_list("need", needs, TERMS_MAX)
    tags: dict[str, None] = {}
    amounts: dict[str, float] = {}
    for text in needs:
        try:
            wanted = units.need(text)
        except ValueError as error:
            raise _refused(str(error)) from None
        if wanted[0] == "tag":
            tags[wanted[1]] = None
        else:
            amounts[wanted[1]] = max(wanted[2], amounts.get(wanted[1], 0.0))
    if (slots := amounts.get(SLOTS, 1.0)) < 1.0 or slots != round(slots):
        raise _refused(f"a task takes one slot or more of its node, all of them whole, not {slots:g}")
    return tuple(tags), tuple(amounts.items())


def _only(tags: Sequence[str]) -> tuple[str, ...]:
    if not tags:
        return ()
    _check_list("only", tags, TERMS_MAX)
    try:
        return tuple(dict.fromkeys(map(units.tag, tags)))
    except ValueError as error:
        raise _refused(str(error)) from None


def _prefers(preferences: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Tags and what they are worth: the most, where one is named twice."""
    if not preferences:
        return ()
    _check_list("prefer", preferences, PREFERENCES_MAX)
    worth: dict[str, float] = {}
    for text in preferences:
        try:
            name, seconds = units.preference(text)
        except ValueError as error:
            raise _refused(str(error)) from None
        worth[name] = max(seconds, worth.get(name, 0.0))
    return tuple(worth.items())


def _facts(kind: str, arguments: object, about: Mapping[str, float | str]) -> tuple[tuple[str, float | str], ...]:
    """What bidders may know of it; of a command also what it is like."""
    if not isinstance(about, Mapping):
        raise _refused(f'about is a dict of facts, as {{"shelf": 7}}, not {about!r}')
    facts = dict(about)
    if kind == "command" and LIKE not in facts and (like := _likeness(arguments)):
        facts[LIKE] = like
    if len(facts) > TERMS_MAX:
        raise _refused(f"about holds {TERMS_MAX} facts at most, not {len(facts)}")
    for name, fact in facts.items():
        if not isinstance(name, str) or not 1 <= len(name) <= 64:
            raise _refused(f"about: a fact has a name of 1 to 64 characters, not {name!r}")
        if isinstance(fact, str):
            if len(fact) > FACT_CHARACTERS_MAX:
                raise _refused(f"about: {name} has {FACT_CHARACTERS_MAX} characters at most")
        else:
            _check_number(f"about: {name}", fact, -NUMBER_MAX, NUMBER_MAX)
    return tuple((name, fact if isinstance(fact, str) else float(fact)) for name, fact in facts.items())


def _likeness(arguments: object) -> str:
    """Of a command: its program, and the script or module that it is given.

    >>> _likeness({"argv": ["/usr/bin/python", "-m", "http.server", "80"]}), _likeness({"argv": ["sleep", "5"]})
    ('python -m http.server', 'sleep')
    """
    argv = arguments.get("argv") if isinstance(arguments, dict) else None
    if not isinstance(argv, (list, tuple)) or not all(isinstance(word, str) for word in argv) or not argv:
        return ""
    program, rest = PurePath(argv[0]).name, argv[1:]
    if len(rest) > 1 and rest[0] == "-m" and _MODULE.fullmatch(rest[1]):
        program += f" -m {rest[1]}"
    elif rest and _SCRIPT.fullmatch(PurePath(rest[0]).name):
        program += f" {PurePath(rest[0]).name}"
    return program[:LIKE_CHARACTERS_MAX]


def _seconds_of_sleep(arguments: object) -> float | None:
    seconds = arguments.get("seconds") if isinstance(arguments, dict) else None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds <= units.SECONDS_MAX:
        return None  # its node says what is wrong
    return float(seconds)


def _handed(arguments: object) -> list[str]:
    """The tasks whose results these arguments, which can travel, ask for."""
    level: list[object] = [arguments]
    names: list[str] = []
    while level:
        names += [item.name for item in level if isinstance(item, Handed)]
        boxes = [item for item in level if isinstance(item, (list, tuple, dict))]
        level = [item for box in boxes for item in (box.values() if isinstance(box, dict) else box)]
    return names
