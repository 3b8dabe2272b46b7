"""How long will an answer take on this server? Measured from its answers, never guessed.

The idea: an answer takes as long as reading the prompt and writing the text, and both are proportional to tokens.

    request sent                 first token                               last token
      |--- load the model, if cold ---|--- read the prompt ---|--- write the answer ---|
      |<------------------ first_s ------------------------->|                         |
      |<------------------------------------ seconds -------------------------------->|

    run = payload bytes x tokens per byte x seconds per prompt token  +  tokens expected x seconds per token written

What a node knows of a task before it has won it are its kind, the size of its argument and the number of tokens its
client expects ("tokens" in `about`), if it says so; else the mean length of the answers of that kind is taken.
Writing and loading belong to the model; reading, lengths and densities to the kind.

Means are exponentially weighted, those of speeds geometric, as in `estimator.py`, and for the same reason a speed that
is not renewed fades, here towards the best that this server has shown: a node that was slow once is tried again.

Invariant: no clock of its own (`now` is an argument, in seconds); the same calls give the same answers, which are
positive and finite; at most KINDS_MAX models and kinds are remembered.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

WEIGHT = 0.3
"""What the newest observation counts against all earlier ones, once there are a few."""
BEST_FORGOTTEN = 0.05
"""By this part the best speed moves towards the mean with every observation: no server is what it was for ever."""
PATIENCE_S = 10.0
"""A speed begins to fade when it has not been renewed for so long."""
FADE_S = 60.0
"""In this time the distance to the best speed falls to 1/e."""
KINDS_MAX = 256
LOAD_FIRST_S = 10.0
"""What loading a model is taken to cost until it has been seen."""
BYTES_PER_TOKEN = 4.0
"""Of a prompt, where the server does not count its tokens."""
SPAN_S_MIN = 0.001
"""Tokens that come closer together than this came at once: then nobody can tell reading from writing."""
PER_TOKEN_S_MIN = 1e-7
PER_TOKEN_S_MAX = 1e4
SECONDS_MAX = 1e9

_Key = TypeVar("_Key")
_Record = TypeVar("_Record")


class Start(enum.Enum):
    """What came between a request and its work."""

    AT_ONCE = enum.auto()
    LOADED = enum.auto()  # its model had to be loaded
    WAITED = enum.auto()  # other requests, for nobody knows how long


class Seen(NamedTuple):
    """One answer. `first_s` and `seconds` count from the request; `whole`: it came to its end, instead of to that of
    our patience."""

    payload_bytes: int
    prompt_tokens: int | None
    completion_tokens: int
    first_s: float
    seconds: float
    start: Start
    whole: bool = True


class _Mean:
    """Exponentially weighted; the first few observations weigh alike."""

    def __init__(self) -> None:
        self._count = 0
        self.value = 0.0

    @property
    def known(self) -> bool:
        return self._count > 0

    def add(self, value: float) -> None:
        self._count += 1
        self.value += max(WEIGHT, 1.0 / self._count) * (value - self.value)


class _Pace:
    """Seconds per token, and the best of it."""

    def __init__(self) -> None:
        self._log = _Mean()
        self._best = math.inf
        self._at = 0.0

    @property
    def known(self) -> bool:
        return self._log.known

    def add(self, per_token_s: float, now: float) -> None:
        self._log.add(math.log(min(max(per_token_s, PER_TOKEN_S_MIN), PER_TOKEN_S_MAX)))
        mean = self._log.value
        self._best = mean if mean <= self._best else self._best + BEST_FORGOTTEN * (mean - self._best)
        self._at = now

    def seconds(self, now: float) -> float:
        """Per token; nothing where nothing is known."""
        if not self.known:
            return 0.0
        old_s = max(now - self._at - PATIENCE_S, 0.0)
        return math.exp(self._best + (self._log.value - self._best) * math.exp(-old_s / FADE_S))


class _Model:
    def __init__(self) -> None:
        self.writing = _Pace()
        self.loading = _Mean()


class _Kind:
    def __init__(self) -> None:
        self.reading = _Pace()
        self.length = _Mean()  # tokens of an answer
        self.density = _Mean()  # prompt tokens per byte of the argument


class Rates:
    """What the answers of one server have shown, model by model and kind by kind."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Model] = OrderedDict()  # the longest unobserved first
        self._kinds: OrderedDict[tuple[str, str], _Kind] = OrderedDict()

    def observe(self, verb: str, model: str, seen: Seen, now: float) -> None:
        """An answer has come, or part of one. An `embed` has no completion: its `first_s` are its `seconds`."""
        kind = _renewed(self._kinds, (verb, model), _Kind)
        of_model = _renewed(self._models, model, _Model)
        tokens = seen.prompt_tokens or max(seen.payload_bytes / BYTES_PER_TOKEN, 1.0)
        kind.density.add(tokens / max(seen.payload_bytes, 1))
        written = seen.completion_tokens
        if verb != "embed" and seen.whole:
            kind.length.add(written)
        span_s = seen.seconds - seen.first_s
        apart = written > 1 and span_s >= SPAN_S_MIN
        if seen.start is Start.LOADED:
            work_s = tokens * kind.reading.seconds(now) + (0.0 if apart else written * of_model.writing.seconds(now))
            of_model.loading.add(max((seen.first_s if apart else seen.seconds) - work_s, 0.0))
        elif seen.start is Start.AT_ONCE and (apart or not written):
            kind.reading.add(seen.first_s / tokens, now)
        elif seen.start is Start.AT_ONCE:
            of_model.writing.add(seen.seconds / written, now)
        if apart:
            of_model.writing.add(span_s / (written - 1), now)

    def run_s(self, verb: str, model: str, payload_bytes: int, tokens: float | None, now: float) -> float | None:
        """Expected seconds of an answer of `tokens` (None: of the usual length); None before anything was measured."""
        kind = self._kinds.get((verb, model)) or _Kind()
        of_model = self._models.get(model) or _Model()
        seconds = payload_bytes * kind.density.value * kind.reading.seconds(now)
        if verb != "embed":
            if tokens is None and kind.length.known:
                tokens = kind.length.value
            if tokens is None or not of_model.writing.known:
                return None
            seconds += tokens * of_model.writing.seconds(now)
        elif not kind.reading.known:
            return None
        return min(seconds, SECONDS_MAX)

    def load_s(self, model: str) -> float:
        """Expected seconds until a model that is not loaded could begin."""
        known = self._models.get(model)
        return min(known.loading.value, SECONDS_MAX) if known and known.loading.known else LOAD_FIRST_S


def _renewed(records: OrderedDict[_Key, _Record], key: _Key, new: Callable[[], _Record]) -> _Record:
    """The record of this key, from now on the last to be forgotten."""
    record = records.pop(key, None) or new()
    records[key] = record
    if len(records) > KINDS_MAX:
        records.popitem(last=False)
    return record
