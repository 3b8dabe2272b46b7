"""How a task's end looks to the Python that asked for it: a value, or an exception.

    done                        the value
    the function raised         the same builtin exception (ValueError, KeyError, ...), else RemoteError
    nobody can run it           Unplaced
    died, timed out, late, ...  TaskError
    cancelled, by whomever      the future is cancelled

The remote traceback is the exception's cause, so that it is printed above it, as `concurrent.futures` does with that of
a process. An exception travels as text and is made anew here: from the names of the builtins only, and only where one
text is all that it takes. Nothing that a node says is ever imported or run.

Invariant: whatever an outcome says, the answer is a value or an `Exception` whose first line is one sentence.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re

from ...agents.payload import PayloadError, unpack
from ...protocols.core import Outcome, State
from ...protocols.performatives import Reason
from ..problems import Exit, Problem
from ..spool import SPOOL

_RAISED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:: (.*))?", re.DOTALL)
_TRACEBACK = re.compile(r"\n(?:Traceback \(most recent call last\):|  \+ Exception Group Traceback)")
_ERRNO = re.compile(r"\[Errno (\d{1,6})\] (.*)", re.DOTALL)


class TaskError(Problem):
    """A task that was not done; `outcome` tells where it was tried, how often, and the reason from the closed list."""

    def __init__(self, sentence: str, outcome: Outcome) -> None:
        super().__init__(sentence, Exit.UNPLACED if outcome.state is State.UNPLACED else Exit.FAILURE)
        self.outcome = outcome

    @property
    def task(self) -> str:
        """Its id, for `parley why`."""
        return self.outcome.task

    @property
    def value(self) -> object:
        """What it left all the same, such as a command's exit code; None: nothing."""
        try:
            return unpack(self.outcome.value, SPOOL) if self.outcome.value else None
        except PayloadError:
            return None


class Unplaced(TaskError):
    """Nobody can run it, or nobody could in time; the sentence counts who lacks what."""


class RemoteError(TaskError):
    """The function raised an exception that is no builtin one; `type` is the name of its class."""

    def __init__(self, sentence: str, outcome: Outcome, type: str) -> None:
        super().__init__(sentence, outcome)
        self.type = type


class RemoteTraceback(Exception):
    """Where on its node a function raised: the cause of what is raised here."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.text = text
        self.outcome = outcome

    def __str__(self) -> str:
        where = f"on {self.outcome.node or 'a node'}, task {self.outcome.task}"
        return f'\n"""\n{where}\n{self.text.rstrip()}\n"""'


def value_of(outcome: Outcome) -> object:
    """The value of a task that is done. Raises what has become of it otherwise."""
    error = exception_of(outcome)
    if error is not None:
        raise error
    return unpack(outcome.value, SPOOL)


def exception_of(outcome: Outcome) -> Exception | None:
    """What a task that ended so raises; None: it is done."""
    if outcome.state is State.DONE:
        return None
    sentence, details = _parts(outcome.error)
    if outcome.state is State.UNPLACED:
        return Unplaced(sentence, outcome)
    error: Exception | None = None
    if details and outcome.reason in ("", Reason.ERROR):
        error = _raised(sentence, details, outcome)
    if error is None:
        error = TaskError(sentence or f"the task {outcome.task} is {outcome.state}", outcome)
    if details:
        error.__cause__ = RemoteTraceback(details, outcome)
    return error


def _parts(text: str) -> tuple[str, str]:
    """The sentence, which may have several lines if it is an exception's own text, and the traceback after it."""
    mark = _TRACEBACK.search(text)
    if mark:
        return text[: mark.start()], text[mark.start() + 1 :]
    sentence, _, details = text.partition("\n")
    return sentence, details


def _raised(sentence: str, details: str, outcome: Outcome) -> Exception | None:
    """The exception of the function, made anew; None: it was none."""
    match = _RAISED.fullmatch(sentence)
    if match is None:
        return None
    name, text = match[1], match[2] or ""
    own = getattr(builtins, name, None)
    unqualified = re.search(rf"^(?:  [ |+]*)?{name}(?::|$)", details, re.MULTILINE)  # mymodule.ValueError is another
    if unqualified and isinstance(own, type) and issubclass(own, Exception) and own not in _OF_PYTHON_ITSELF:
        with contextlib.suppress(Exception):  # such as UnicodeDecodeError: it takes more than a text
            return own(*_arguments(own, text))
    return RemoteError(sentence, outcome, name)


_OF_PYTHON_ITSELF = (StopIteration, StopAsyncIteration)
"""They mean something to the loops they come by."""


def _arguments(own: type[Exception], text: str) -> tuple[object, ...]:
    """What the exception's text was made of, as far as it can be told."""
    if issubclass(own, KeyError):
        try:
            return (ast.literal_eval(text),)  # its text is the repr of the key
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (text,)
    if issubclass(own, OSError) and (match := _ERRNO.fullmatch(text)):
        return int(match[1]), match[2]
    return (text,) if text else ()
