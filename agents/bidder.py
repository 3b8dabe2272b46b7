"""What an owner's own Python says a task costs here: bidders of single kinds, and a valuation of all.

The idea: an owner knows what no estimator can learn, such as how far the robot stands or that the battery is low. A
bidder is a function of a task that answers with a price in seconds, made of terms with names, or with a sentence, which
is a refusal. Everything else stays as it is: what the node lacks it still declines, and kinds without a bidder cost
what they would.

    @bidder("pick")
    def pick(task):
        if battery() < 0.2:
            return "the battery is low"
        return task.usual | {"way": distance(task.about["shelf"]) / SPEED}

    called -> the node's valuation --- declines (kind, need, only, ...) --> it stands
                     | a price
                     v
              bidder of the kind, else the own valuation, else that price

It runs inside the agent, on its loop, and while it computes the agent hears nothing: microseconds, please. It may be
asked about one task several times: when it is called, when it is awarded, and again while it waits.

Invariant: whatever the function does, the answer is a Pricing: what it raises, and an answer that is no price, is a
refusal in one sentence, told once to the owner.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from ..protocols.participant import Asked, Pricing, Valuation
from ..protocols.performatives import TERMS_MAX, Reason, Term

RESERVED = frozenset({"queue", "resources", "leaving"})
"""Terms that the participant adds itself: it knows what runs and what waits here."""
OWN_TERMS_MAX = TERMS_MAX - len(RESERVED)
NAME_CHARS_MAX = 32
SECONDS_MAX = 1e9
SENTENCE_CHARS_MAX = 500
SLOW_S = 0.05
"""A bidder that computes longer than this is told to its owner: the whole agent waits for it."""
COMPLAINTS_MAX = 100
"""So many different sentences about bidders are told; the rest would only fill the screen."""


class BidderError(ValueError):
    """The module or function cannot be had; the text is one sentence."""


class ThisNode(NamedTuple):
    """The node that is asked, as it is now."""

    name: str
    speed: float
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AskedTask:
    """What a bidder is told of a task.

    `about`: what the client tells all bidders (`about={...}`). `need`: tags with True, quantities with how much, in
    base units: {"gpu": True, "vram": 8589934592.0}. `work`: seconds at speed 1, if known. `deadline_s`: seconds left.
    `best_s`: in an iterated call, the best price so far. `usual`: the terms of the price without this bidder, in
    seconds ("run", "transfer"). `node`: who is asked.
    """

    id: str
    kind: str
    work: float | None
    about: Mapping[str, float | str]
    need: Mapping[str, float]
    deadline_s: float | None
    priority: int
    reward: float
    best_s: float | None
    usual: dict[str, float]
    node: ThisNode


Answer: TypeAlias = Mapping[str, float] | str | None
"""Terms in seconds, whose sum is the cost; or a refusal in one sentence; or None: the usual price."""
Bidder: TypeAlias = Callable[[AskedTask], Answer]
B = TypeVar("B", bound=Bidder)

_BIDDERS: dict[str, Bidder] = {}
"""Kind, or pattern of kinds, and its bidder: all that this process has defined."""


def bidder(kind: str) -> Callable[[B], B]:
    """Makes a function the bidder of this kind, or of all kinds that fit a pattern, such as "chat:*"; the last wins."""
    if not isinstance(kind, str) or not kind:
        raise TypeError('name the kind that is bid for: @bidder("pick")')

    def register(function: B) -> B:
        _BIDDERS[kind] = function
        return function

    return register


def bidder_of(kind: str) -> Bidder | None:
    """The kind's own bidder, else that of the first pattern it fits."""
    exact = _BIDDERS.get(kind)
    if exact is not None:
        return exact
    return next((function for pattern, function in _BIDDERS.items() if fnmatchcase(kind, pattern)), None)


def _to_stderr(sentence: str) -> None:
    print(f"parley: {sentence}", file=sys.stderr, flush=True)


def valuation_of(
    name: str,
    fallback: Valuation,
    node: Callable[[], ThisNode],
    *,
    code: Sequence[Path] = (),
    complain: Callable[[str], None] = _to_stderr,
) -> Valuation:
    """The node's valuation, with the bidders of module `pkg.mod`, or with the function `pkg.mod:func` for all kinds.

    `fallback` is the node's usual valuation; `code` are folders to import from; `complain` is told what is wrong with a
    bidder, each thing once (default: a line on stderr). Raises BidderError if there is no such module or function.
    """
    own = _load(name, code)
    hear = _Complaints(complain)

    def value(asked: Asked, now: float) -> Pricing:
        usual = fallback(asked, now)
        if usual.decline is not None:
            return usual
        function = bidder_of(asked.task.kind) or own
        return usual if function is None else _ask(function, asked, usual, node(), hear)

    return value


def _load(name: str, code: Sequence[Path]) -> Bidder | None:
    """Imports the module, which registers its bidders; the function, if one is named."""
    for folder in map(str, code):
        if folder not in sys.path:
            sys.path.append(folder)  # behind all else: nothing of ours is ever taken from there
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        where = " in ".join(["", *map(str, code)]) if isinstance(error, ModuleNotFoundError) else ""
        raise BidderError(f"the valuation {name} cannot be imported{where}: {_told(error)}") from None
    if not function_name:
        return None
    function: object = getattr(module, function_name, None)
    if not callable(function):
        raise BidderError(f"{module_name} has no function {function_name} that could be the valuation")
    return function


class _Complaints:
    """Each sentence once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[tuple[str, str]] = set()

    def __call__(self, bidder: str, sentence: str, more: str = "") -> None:
        if len(self._told) < COMPLAINTS_MAX and (bidder, sentence) not in self._told:
            self._told.add((bidder, sentence))
            self._tell(f"the bidder {bidder} {sentence}{more}")


def _ask(function: Bidder, asked: Asked, usual: Pricing, node: ThisNode, complain: _Complaints) -> Pricing:
    name = f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', repr(function))}"
    began = time.perf_counter()
    try:
        answer = function(_view(asked, usual, node))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it would be the agent's end
        sentence = f"failed: {_told(error)}"
        complain(name, sentence, _where(error))
        return Pricing(decline=Reason.UNWILLING, detail=_plain(f"have a bidder that {sentence}"))
    if (took := time.perf_counter() - began) > SLOW_S:
        complain(
            name, f"is slow, and its agent hears nothing meanwhile: {SLOW_S:g} s is much", f", it took {took:.2f} s"
        )
    if answer is None:
        return usual
    if isinstance(answer, str):
        return Pricing(decline=Reason.UNWILLING, detail=_plain(answer) or "do not want it")
    terms = _terms(answer)
    if isinstance(terms, str):
        sentence = f"answered what is no price: {terms}"
        complain(name, sentence)
        return Pricing(decline=Reason.UNWILLING, detail=_plain(f"have a bidder that {sentence}"))
    return Pricing(terms)


def _view(asked: Asked, usual: Pricing, node: ThisNode) -> AskedTask:
    task, conditions = asked.task, asked.task.conditions
    return AskedTask(
        id=task.id,
        kind=task.kind,
        work=task.work,
        about=dict(conditions.about),
        need={**dict.fromkeys(conditions.needs, True), **dict(conditions.amounts)},
        deadline_s=conditions.deadline_s,
        priority=conditions.priority,
        reward=conditions.reward,
        best_s=asked.best_s,
        usual=dict(usual.terms),
        node=node,
    )


def _terms(answer: object) -> tuple[Term, ...] | str:
    """The terms of a price; else what is wrong with it."""
    if not isinstance(answer, Mapping):
        return f"{type(answer).__name__}, where a dict of seconds, a sentence or None is due"
    if len(answer) > OWN_TERMS_MAX:
        return f"{len(answer)} terms, {OWN_TERMS_MAX} is the most"
    terms: list[Term] = []
    for name, seconds in answer.items():
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
            return f"the term {name!r:.50}, where a name of 1 to {NAME_CHARS_MAX} characters is due"
        if name in RESERVED:
            return f"the term {name!r}, which the node adds itself"
        try:
            value = float(seconds)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not 0.0 <= value <= SECONDS_MAX:
            return f"{name} is {seconds!r:.50}, where seconds from 0 to {SECONDS_MAX:g} are due"
        terms.append((name, value))
    return tuple(terms)


def _told(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    return _plain(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _where(error: BaseException) -> str:
    """The innermost line that failed, for the owner's eyes only."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""


def _plain(text: str) -> str:
    """One line that fits, and that can be sent."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())[:SENTENCE_CHARS_MAX]
