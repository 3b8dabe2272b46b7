"""Functions that a person's own module might have, for the tests of clients and fleets."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OwnError(Exception):
    pass


def square(x: int) -> int:
    return x * x


def power(base: int, exponent: int = 2, *, less: int = 0) -> int:
    return int(base**exponent) - less


def by_place(x: int, /, *more: int, y: int = 0) -> int:
    return x + sum(more) + y


def total(values: Sequence[int], more: int = 0) -> int:
    return sum(values) + more


def fails(text: str) -> None:
    raise ValueError(text)


def fails_in_its_own_way() -> None:
    raise OwnError("mine")


def hangs(begun: str) -> None:
    """Says in a file who it is, and never ends."""
    part = Path(f"{begun}.part")
    part.write_text(str(os.getpid()))
    part.rename(begun)
    signal.pause()


def appears(path: str) -> None:
    Path(path).touch()


def squares_of_others(count: int) -> int:
    """A task that has others do its work: a contract of its own."""
    from parley import Client

    with Client() as client:
        return sum(client.map(square, range(count)))


def whose_agent() -> str | None:
    return os.environ.get("PARLEY_AGENT")


def pair() -> tuple[int, int]:
    return 1, 2


async def coroutine() -> None: ...


def through(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return wrapped


@through
def decorated(x: int) -> int:
    return x + 1


another_name = square
