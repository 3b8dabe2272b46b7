"""How the ends of tasks look in Python: values, the exceptions of builtins, and what is neither."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from parley.agents.executors import worker
from parley.agents.executors.channel import Request
from parley.agents.payload import pack
from parley.launch.futures.ends import RemoteError, RemoteTraceback, TaskError, Unplaced, exception_of, value_of
from parley.launch.problems import Exit, Problem
from parley.protocols.core import Outcome, State
from parley.protocols.performatives import Reason


class OwnError(Exception):
    """No builtin exception."""


class PermissionError(Exception):
    """One that takes a builtin's name."""


def raised_by(function: Callable[[], object]) -> Exception:
    """What is raised here for what the function raises there, by way of a real worker's words."""
    globals()["function_under_test"] = function
    function.__module__ = __name__
    reply = worker.answer(Request("t1", 1, f"{__name__}:function_under_test", False, b""), 0.0)
    assert not reply.ok
    error = exception_of(Outcome("t1", State.FAILED, error=reply.error, node="n3", reason=Reason.ERROR))
    assert error is not None
    return error


def raiser(error: BaseException) -> Callable[[], object]:
    def fails() -> object:
        raise error

    return fails


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        ValueError(),
        ValueError("two\nlines"),
        ValueError("a: b: c"),
        KeyError("colour"),
        KeyError(7),
        KeyError(("a", 1)),
        ZeroDivisionError("division by zero"),
        TimeoutError("the other side is slow"),
        AssertionError("no"),
        NotImplementedError(),
        RuntimeError("Traceback of a kind"),
    ],
    ids=repr,
)
def test_a_builtin_exception_comes_back_as_itself(error: Exception) -> None:
    copy = raised_by(raiser(error))
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert isinstance(copy.__cause__, RemoteTraceback)


def test_a_missing_file_is_known_by_its_number() -> None:
    error = raised_by(lambda: Path("/no/such/file").read_text())
    assert type(error) is FileNotFoundError
    assert error.errno == 2
    assert "/no/such/file" in str(error)


def test_its_traceback_is_printed_above_it() -> None:
    error = raised_by(lambda: [][3])
    text = "".join(traceback.format_exception(error))
    assert "on n3, task t1" in text
    assert "lambda: [][3]" in text  # the line that failed, there
    assert text.index("lambda: [][3]") < text.index("The above exception was the direct cause")
    assert text.rstrip().endswith("IndexError: list index out of range")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OwnError("own"), "OwnError"),
        (PermissionError("a namesake"), "PermissionError"),
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (StopIteration(7), "StopIteration"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "UnicodeDecodeError"),
        (ExceptionGroup("several", [ValueError(1)]), "ExceptionGroup"),
        (type("print", (Exception,), {})("no exception's name"), "print"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_any_other_is_a_remote_error(error: BaseException, name: str) -> None:
    copy = raised_by(raiser(error))
    assert type(copy) is RemoteError
    assert copy.type == name
    assert str(copy).startswith(name)
    assert isinstance(copy.__cause__, RemoteTraceback)
    assert copy.outcome.node == "n3"
    assert copy.task == "t1"


def test_a_long_message_keeps_its_beginning() -> None:
    error = raised_by(raiser(ValueError("x" * 10_000)))
    assert str(error).startswith("ValueError: xxx") or str(error).startswith("xxx")
    assert isinstance(error, ValueError | RemoteError)


def outcome(state: State, error: str = "", reason: str = "", value: bytes = b"") -> Outcome:
    return Outcome("t1", state, error=error, reason=reason, value=value, node="n3")


def test_done_is_its_value() -> None:
    assert exception_of(outcome(State.DONE, value=pack([1, 2]))) is None
    assert value_of(outcome(State.DONE, value=pack([1, 2]))) == [1, 2]


def test_a_worker_that_died_is_a_task_error() -> None:
    error = exception_of(outcome(State.FAILED, "worker died with signal 9 (SIGKILL)", Reason.DIED))
    assert type(error) is TaskError
    assert str(error) == "worker died with signal 9 (SIGKILL)"
    assert error.code is Exit.FAILURE
    assert error.value is None
    assert isinstance(error, Problem)
    with pytest.raises(TaskError, match="SIGKILL"):
        value_of(error.outcome)


def test_its_own_timeout_is_no_timeout_error() -> None:
    """`except TimeoutError` around result(timeout=...) means: not yet."""
    error = exception_of(outcome(State.FAILED, "no result within 3 s; the worker was killed", Reason.TIMEOUT))
    assert type(error) is TaskError
    assert not isinstance(error, TimeoutError)


def test_what_a_task_left() -> None:
    error = exception_of(outcome(State.FAILED, "exit code 3\nlast words", Reason.ERROR, pack({"code": 3})))
    assert type(error) is TaskError
    assert error.value == {"code": 3}
    assert str(error) == "exit code 3"
    assert "last words" in str(error.__cause__)
    garbled = exception_of(outcome(State.FAILED, "exit code 3", Reason.ERROR, b"\xc1"))
    assert isinstance(garbled, TaskError)
    assert garbled.value is None


def test_a_sentence_that_looks_like_an_exception_is_none() -> None:
    """Only what comes with a traceback was raised by a function."""
    error = exception_of(outcome(State.FAILED, "ValueError: said by an executor", Reason.ERROR))
    assert type(error) is TaskError


def test_unplaced() -> None:
    sentence = "0/4 nodes can run this: 3 lack capability gpu, 1 has vram 6 GiB < 8 GiB"
    error = exception_of(outcome(State.UNPLACED, sentence, Reason.NEED))
    assert type(error) is Unplaced
    assert (str(error), error.code) == (sentence, Exit.UNPLACED)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.UNKNOWN])
def test_every_end_has_a_sentence(state: State) -> None:
    assert str(exception_of(outcome(state))) == f"the task t1 is {state}"
