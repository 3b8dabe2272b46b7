"""Durations, amounts and needs as people write them, in base units.

    "30s", "5m", "1h30m", "250ms", "12"      -> seconds(...)   a duration; a bare number is seconds
    "8GiB", "500MB", "4k", "0.5", "2"        -> amount(...)    bytes, cores, pieces; Ki Mi Gi are powers of 1024
    "gpu", "site=lab"                        -> need(...)      a tag of the node
    "vram=8GiB", "vram>=8GiB"                -> need(...)      so much of what the node has

What cannot be read is a ValueError of one sentence. The click types beside them (`Duration`, `Amount`, ...) say the
same, so that every command reads them alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    ParamType: TypeAlias = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older clicks know no type argument

SECONDS_MAX = 1e9
AMOUNT_MAX = 1e18
TAG_CHARACTERS_MAX = 128

TagNeed: TypeAlias = tuple[Literal["tag"], str]
AmountNeed: TypeAlias = tuple[Literal["amount"], str, float]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SCALES = {"": 1.0, "k": 1e3} | {letter: 1000.0**power for power, letter in enumerate("KMGTP", 1)}
_SCALES |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTP", 1)}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_DURATION = re.compile(rf"(?:(?:{_NUMBER})(?:ms|s|m|h|d))+|{_NUMBER}")
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d|$)")
_AMOUNT = re.compile(rf"({_NUMBER}|[0-9]+[eE]\+?[0-9]+)\s*([A-Za-z]*)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+@-]*(?:=[A-Za-z0-9][A-Za-z0-9._:/+@-]*)?")


def seconds(text: str) -> float:
    """A duration in seconds.

    >>> seconds("1h30m"), seconds("250ms"), seconds("12")
    (5400.0, 0.25, 12.0)
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration: write 30s, 5m, 1h30m or 250ms")
    total = sum(float(number) * _SECONDS[unit or "s"] for number, unit in _PART.findall(text))
    if total > SECONDS_MAX:
        raise ValueError(f"{text!r} is too long: {SECONDS_MAX:g} s is the most")
    return total


def amount(text: str) -> float:
    """How much, in base units (bytes for sizes).

    >>> amount("8GiB"), amount("4k"), amount("0.5")
    (8589934592.0, 4000.0, 0.5)
    """
    matched = _AMOUNT.fullmatch(text)
    scale = _scale(matched[2]) if matched else None
    if matched is None or scale is None:
        raise ValueError(f"{text!r} is no amount: write a number, as 2 or 0.5, or a size, as 8GiB or 500MB")
    value = float(matched[1]) * scale
    if value > AMOUNT_MAX:
        raise ValueError(f"{text!r} is too much: {AMOUNT_MAX:g} is the most")
    return value


def _scale(unit: str) -> float | None:
    """Of "GiB", "gb", "G", "": case matters only without the B, where an m might mean a thousandth.

    A B of its own is no unit: `model=70b` is a tag.
    """
    if len(unit) > 1 and unit[-1] in "Bb":
        return _SCALES.get(unit[:-1].capitalize())
    return _SCALES.get(unit)


def format_amount(name: str, value: float) -> str:
    """How much of `name`, for people: sizes as such, the rest as numbers.

    >>> format_amount("vram", 6 * 2**30), format_amount("gpu", 2.0)
    ('6 GiB', '2')
    """
    from ..agents.resources import quantity

    return quantity(name, value)


def need(text: str) -> TagNeed | AmountNeed:
    """What a task needs of its node: a tag, or so much of an amount.

    >>> need("gpu"), need("site=lab"), need("vram>=8GiB")
    (('tag', 'gpu'), ('tag', 'site=lab'), ('amount', 'vram', 8589934592.0))
    """
    name, sign, value = re.fullmatch(r"([^<>=!]*)([<>=!]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if sign == ">=":
        return ("amount", _named(name, text), amount(value))
    if sign == "=" and reads_as_amount(value):
        return ("amount", _named(name, text), amount(value))
    if sign in ("", "="):
        return ("tag", tag(text))
    raise ValueError(f"{text!r} is no need: write a tag, as gpu or site=lab, or the least of an amount, as vram=8GiB")


def tag(text: str) -> str:
    """What a node is or has, without a quantity: the text itself."""
    if not _TAG.fullmatch(text) or len(text) > TAG_CHARACTERS_MAX:
        raise ValueError(f"{text!r} is no tag: write a word, as gpu, or a key and a value, as site=lab")
    return text


def preference(text: str) -> tuple[str, float]:
    """A tag, and how many seconds later a node without it counts.

    >>> preference("site=lab:30s")
    ('site=lab', 30.0)
    """
    name, _, wait = text.rpartition(":")
    try:
        return tag(name), seconds(wait)
    except ValueError:
        raise ValueError(f"{text!r} is no preference: write a tag and what it is worth, as gpu:30s") from None


def have(text: str) -> tuple[str, float]:
    """What a node has so much of.

    >>> have("vram=8GiB")
    ('vram', 8589934592.0)
    """
    name, sign, value = text.partition("=")
    _named(name, text)
    if not sign:
        raise ValueError(f"{text!r} does not say how much: write {text}=AMOUNT, as vram=8GiB or gpu=2")
    return name, amount(value)


def fact(text: str) -> tuple[str, float | str]:
    """What bidders may know of a task: a name, and a number or a text.

    >>> fact("metres=3"), fact("shelf=A7")
    (('metres', 3.0), ('shelf', 'A7'))
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ValueError(f"{text!r} tells nothing: write a name and a value, as metres=3")
    return name, float(value) if re.fullmatch(rf"-?(?:{_NUMBER})", value) else value


def reads_as_amount(text: str) -> bool:
    try:
        amount(text)
    except ValueError:
        return False
    return True


def _named(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} names no amount: a name begins with a letter, as in vram=8GiB")
    return name


class _Read(ParamType):
    """A flag's text, read by one of the functions above."""

    read: ClassVar[Any]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # a default is in base units already
        try:
            return type(self).read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(_Read):
    """Seconds, as a float. `positive`: nothing at all is refused."""

    name = "duration"
    read = staticmethod(seconds)

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        duration = super().convert(value, param, ctx)
        if not 0.0 <= duration <= SECONDS_MAX:  # a number, as a file may hold
            self.fail(f"{value!r} is no duration: write 30s, 5m, 1h30m or 250ms", param, ctx)
        if self.positive and not duration > 0:
            self.fail(f"{value!r} is no time at all: write 30s, 5m or 1h30m", param, ctx)
        return duration

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete + unit) for unit in ("s", "m", "h")] if incomplete[-1:].isdigit() else []


class Amount(_Read):
    """Base units, as a float."""

    name = "amount"
    read = staticmethod(amount)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete + unit) for unit in ("GiB", "MiB")] if incomplete[-1:].isdigit() else []


class Need(_Read):
    """What `need` answers."""

    name = "need"
    read = staticmethod(need)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in ("gpu", "vram=", "memory=", "cpu=") if word.startswith(incomplete)]


class Have(Need):
    """A name and how much, as a pair."""

    name = "name=amount"
    read = staticmethod(have)


class Fact(_Read):
    """A name and what it is, as a pair."""

    name = "name=value"
    read = staticmethod(fact)


class Tag(_Read):
    """A tag of this node. One whose value reads as an amount is refused: `need` would take it for an amount."""

    name = "tag"
    read = staticmethod(tag)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        _, sign, number = str(value).partition("=")
        if sign and reads_as_amount(number):
            self.fail(f"{value!r} is an amount, not a tag: write --have {value}", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range; `nan` is in none, which click's own does not see."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if number != number:
            self.fail(f"{value!r} is no number", param, ctx)
        return number
