"""Durations, amounts, needs and tags as people write them: read alike by every flag, refused in one sentence."""

from __future__ import annotations

import doctest
import re
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.launch import units
from parley.launch.units import AMOUNT_MAX, SECONDS_MAX, Amount, Duration, Have, Need, Number, Tag

GIB = 2.0**30


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(units).failed == 0
    assert doctest.testmod(units).attempted > 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30s", 30.0), ("5m", 300.0), ("1h30m", 5_400.0), ("2d", 172_800.0), ("250ms", 0.25), ("12", 12.0),
        ("1.5h", 5_400.0), (".5", 0.5), ("0", 0.0), ("1m1s", 61.0), ("1s1ms", 1.001), ("1000000000", SECONDS_MAX),
    ],
)  # fmt: skip
def test_durations(text: str, value: float) -> None:
    assert units.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "5 m", "1h30", "-1", "1e3", "nan", "inf", "1.s", "5min", "٣s", "5m\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is no duration: write 30s, 5m, 1h30m or 250ms")):
        units.seconds(text)


def test_a_duration_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="'20000d' is too long: 1e\\+09 s is the most"):
        units.seconds("20000d")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8GiB", 8 * GIB), ("8gib", 8 * GIB), ("8Gi", 8 * GIB), ("8 GiB", 8 * GIB), ("8GB", 8e9), ("8gb", 8e9),
        ("8G", 8e9), ("500MB", 5e8), ("500M", 5e8), ("4k", 4e3), ("4K", 4e3), ("4kB", 4e3), ("1KiB", 1024.0),
        ("2", 2.0), ("0.5", 0.5), (".5", 0.5), ("0", 0.0), ("1e3", 1e3), ("1E+3", 1e3), ("3TiB", 3 * 2.0**40),
        ("1P", 1e15), ("1000000000000000000", AMOUNT_MAX),
    ],
)  # fmt: skip
def test_amounts(text: str, value: float) -> None:
    assert units.amount(text) == value


@pytest.mark.parametrize("text", ["", "GiB", "8XB", "8m", "70b", "8g", "8B", "-1", "nan", "inf", "1e-3", "1,5"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is no amount: write a number, as 2 or 0.5, or a size")):
        units.amount(text)


@pytest.mark.parametrize("text", ["1001P", "1e19", "9" * 400, "1e999"])
def test_an_amount_that_is_too_much(text: str) -> None:
    with pytest.raises(ValueError, match="is too much: 1e\\+18 is the most"):
        units.amount(text)


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("gpu", ("tag", "gpu")),
        ("site=lab", ("tag", "site=lab")),
        ("model=llama3.2:70b", ("tag", "model=llama3.2:70b")),
        ("model=70b", ("tag", "model=70b")),
        ("vram=8GiB", ("amount", "vram", 8 * GIB)),
        ("vram>=8GiB", ("amount", "vram", 8 * GIB)),
        ("gpu=2", ("amount", "gpu", 2.0)),
    ],
)
def test_needs(text: str, need: object) -> None:
    assert units.need(text) == need


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vram>8GiB", "'vram>8GiB' is no need: write a tag, as gpu or site=lab, or the least of an amount"),
        ("vram==8", "'vram==8' is no need"),
        ("vram<8", "'vram<8' is no need"),
        ("vram>=lots", "'lots' is no amount"),
        (">=8", "'>=8' names no amount: a name begins with a letter"),
        ("8=8", "'8=8' names no amount"),
        ("", "'' is no tag: write a word, as gpu, or a key and a value, as site=lab"),
        ("=lab", "'=lab' is no tag"),
        ("site=", "'site=' is no tag"),
        ("two words", "'two words' is no tag"),
        ("x" * 129, "is no tag"),
        ("gpu\n", "is no tag"),
    ],
)
def test_what_is_no_need(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.need(text)


@pytest.mark.parametrize(("text", "have"), [("vram=8GiB", ("vram", 8 * GIB)), ("robot.arm=2", ("robot.arm", 2.0))])
def test_haves(text: str, have: object) -> None:
    assert units.have(text) == have


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vram", "'vram' does not say how much: write vram=AMOUNT, as vram=8GiB or gpu=2"),
        ("vram=", "'' is no amount"),
        ("site=lab", "'lab' is no amount"),
        ("=8", "'=8' names no amount"),
        ("x" * 65 + "=1", "names no amount"),
    ],
)
def test_what_is_no_have(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        units.have(text)


@given(st.text())
def test_whatever_is_written_is_read_or_refused_in_one_line(text: str) -> None:
    for read in (units.seconds, units.amount, units.need, units.have, units.tag):
        said = ""
        try:
            read(text)
        except ValueError as refusal:
            said = str(refusal)
        assert "\n" not in said


@given(st.integers(0, 10**15))
@example(1005 * 2**20)
@example(1023)
def test_what_is_formatted_can_be_read(value: int) -> None:
    told = units.format_amount("vram", float(value))
    assert units.amount(told) == pytest.approx(value, rel=0.01)


def convert(kind: Any, value: object) -> object:
    return kind.convert(value, None, None)


def test_flags_read_the_same() -> None:
    assert convert(Duration(), "5m") == 300.0
    assert convert(Amount(), "8GiB") == 8 * GIB
    assert convert(Need(), "vram=8GiB") == ("amount", "vram", 8 * GIB)
    assert convert(Have(), "vram=8GiB") == ("vram", 8 * GIB)
    assert convert(Tag(), "site=lab") == "site=lab"
    assert convert(Duration(), 2.5) == 2.5, "a default is in base units already"


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (Duration(), "soon", "'soon' is no duration"),
        (Duration(), -1, "-1 is no duration"),
        (Duration(), float("nan"), "nan is no duration"),
        (Duration(positive=True), "0s", "'0s' is no time at all: write 30s, 5m or 1h30m"),
        (Amount(), "lots", "'lots' is no amount"),
        (Need(), "a b", "'a b' is no tag"),
        (Have(), "gpu", "'gpu' does not say how much"),
        (Tag(), "vram=8GiB", "'vram=8GiB' is an amount, not a tag: write --have vram=8GiB"),
        (Tag(), "a b", "'a b' is no tag"),
        (Number(0, 10), "nan", "'nan' is no number"),
        (Number(0, 10), "11", "11.0 is not in the range 0<=x<=10"),
        (Number(0, 10), "x", "'x' is not a valid"),
    ],
)
def test_flags_refuse_in_one_sentence(kind: Any, value: object, sentence: str) -> None:
    with pytest.raises(click.BadParameter, match=re.escape(sentence)):
        convert(kind, value)


def completed(kind: Any, incomplete: str) -> list[str]:
    option = click.Option(["--x"], type=kind)
    return [item.value for item in kind.shell_complete(click.Context(click.Command("x")), option, incomplete)]


def test_flags_complete_units() -> None:
    assert completed(Duration(), "30") == ["30s", "30m", "30h"]
    assert completed(Duration(), "") == []
    assert completed(Amount(), "8") == ["8GiB", "8MiB"]
    assert completed(Need(), "v") == ["vram="]
