"""The inside of a worker process: imports the user's functions and calls them, one at a time, for as long as its
agent lives.

The idea: the channel to the agent is moved off the standard streams before any foreign code is imported, so that
prints (Python's or C's) can never be taken for a reply, and nothing but us can read a request. What is printed goes to
a pipe of its own (`--prints`), what is complained about to standard error. A thread listens, the main thread computes:
when the agent vanishes, by kill -9 or otherwise, the listener meets the end of the file and kills the whole process
group, in the middle of a computation too. (Only foreign C code that never lets go of the interpreter lock can delay
it.) Workers are killed and never asked to leave: `atexit` is no place for a task's clean-up.

    agent                                worker
      | Request -------------------------> listener -> main thread: import, call, sleep off the difference in speed
      | <------------- prints, errors      main thread: all of them before the reply
      | <------------------------ Reply    main thread
      | (end of file) -------------------> listener: SIGKILL to the group

A function finds its task and epoch in the environment (PARLEY_TASK, PARLEY_EPOCH): a key and a fencing token for
whatever it does outside.

Invariant: one reply per request, by this process and by no fork of it; whatever the function raises is a reply, and
whatever kills the process is the end of the file at the agent. Nothing heavy is imported here, so that a worker is
ready in a few hundredths of a second.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from ..blob_folder import BlobError, BlobFolder
from ..payload import PayloadError, lift, pack, unpack
from ..seats import NAMES
from . import channel
from .channel import ERROR_CHARS_MAX, Reply, Request

SENTENCE_CHARS_MAX = 500
"""The most that the first line of an error takes; the end of the traceback has the rest."""


class UnusableError(Exception):
    """The request cannot be carried out; the text is one sentence."""


def main(argv: Sequence[str] | None = None) -> None:
    """`parley worker [options]`: serves the agent at the other end of stdin and stdout."""
    parser = argparse.ArgumentParser(prog="parley worker", description="Runs an agent's Python functions.")
    parser.add_argument("--code", action="append", default=[], metavar="DIR", help="import the functions from here")
    parser.add_argument("--slowdown", type=float, default=0.0, metavar="X", help="seconds to sleep per CPU-second")
    parser.add_argument("--import", action="append", default=[], metavar="MODULE", dest="modules", help="do it now")
    parser.add_argument("--blobs", metavar="DIR", help="where large values lie, and are put")
    parser.add_argument("--prints", type=int, default=2, metavar="FD", help="what is printed goes to this descriptor")
    options = parser.parse_args(argv)
    requests_from, replies_to = _take_channel(options.prints)
    faulthandler.enable()
    sys.path[:0] = options.code
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests_from, requests), name="listener", daemon=True).start()
    blobs = BlobFolder(Path(options.blobs)) if options.blobs else None
    _warm_up(options.modules)
    me = os.getpid()
    while True:
        reply = answer(requests.get(), options.slowdown, blobs)
        _flush()
        if os.getpid() != me:  # the function has forked and returned twice: only one of us is the worker
            os._exit(0)
        for part in channel.encode_reply(reply):
            replies_to.write(part)
        replies_to.flush()


def _take_channel(prints: int) -> tuple[BinaryIO, BinaryIO]:
    """Moves the channel to descriptors that children do not inherit; 0 becomes empty, 1 becomes `prints`."""
    requests_from, replies_to = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(prints, 1)
    if prints > 2:
        os.close(prints)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    return requests_from, replies_to


def _flush() -> None:
    """What was printed is on its way before the reply is; a function may have broken or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _warm_up(modules: Sequence[str]) -> None:
    """What can be imported already is not waited for later; what cannot is told to whoever asks for it."""
    for module in modules:
        with contextlib.suppress(BaseException):
            importlib.import_module(module)


def _listen(source: BinaryIO, requests: queue.SimpleQueue[Request]) -> None:
    try:
        while (frame := channel.read(source)) is not None:
            requests.put(channel.decode_request(frame))
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def answer(request: Request, slowdown: float, blobs: BlobFolder | None = None) -> Reply:
    """Calls the function; every CPU-second that it takes is followed by `slowdown` seconds of sleep.

    Large arguments are taken from `blobs`, large results put there; None: there are none.
    """
    for name in NAMES:  # of the gang that the former was a member of
        os.environ.pop(name, None)
    os.environ.update(request.env, PARLEY_TASK=request.task, PARLEY_EPOCH=str(request.epoch))
    try:
        function = _find(request.function, request.own)
        positional, named = _arguments(request, blobs)
    except UnusableError as error:
        return _failure(str(error))
    except (BlobError, OSError) as error:
        return _failure(f"a large argument of {request.function} cannot be had: {error}")._replace(again=True)
    began, used = time.monotonic(), time.process_time()
    try:
        value = function(*positional, **named)
        reply = _packed(request.function, value, blobs)
    except BaseException as error:  # SystemExit too: it is the function's end, not ours
        reply = _raised(error)
    time.sleep(slowdown * max(time.process_time() - used, 0.0))
    return reply._replace(seconds=time.monotonic() - began)


def _packed(function: str, value: object, blobs: BlobFolder | None) -> Reply:
    try:
        if blobs is None:
            return Reply(True, pack(value), "", 0.0)
        data, lifted = lift(value, blobs)
        return Reply(True, data, "", 0.0, tuple(lifted))
    except PayloadError as error:
        return _failure(f"the result of {function} cannot be sent: {error}")
    except OSError as error:
        return _failure(f"the large result of {function} cannot be kept: {error}")._replace(again=True)


def _find(name: str, own: bool) -> Callable[..., object]:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        raise UnusableError(f"{module_name} cannot be imported on this node: {_sentence(error)}") from None
    function: Callable[..., object] | None = getattr(module, function_name, None)
    if function is None:
        raise UnusableError(f"{module_name} has no function {function_name}")
    if not callable(function):
        raise UnusableError(f"{name} is not a function but {type(function).__name__}")
    if own and getattr(function, "__module__", None) != module_name:
        raise UnusableError(f"{name} is not defined in {module_name} but imported there: allow it by its full name")
    return function


def _arguments(request: Request, blobs: BlobFolder | None) -> tuple[list[object], dict[str, object]]:
    """No bytes: no arguments. A dict names them, a list gives them in order."""
    try:
        arguments = unpack(request.arguments, blobs) if request.arguments else []
    except PayloadError as error:
        raise UnusableError(f"the arguments of {request.function} cannot be read: {error}") from None
    match arguments:
        case list():
            return arguments, {}
        case dict() if all(isinstance(name, str) for name in arguments):
            return [], arguments
    raise UnusableError(f"the arguments of {request.function} must be a list, or a dict with text as keys")


def _raised(error: BaseException) -> Reply:
    """What the function raised, and where: its own frames, not ours. The text is cut in the middle, if at all."""
    import traceback

    own = error.__traceback__.tb_next if error.__traceback__ else None
    return _failure(_sentence(error), "".join(traceback.format_exception(type(error), error, own)))


def _sentence(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}"


def _failure(sentence: str, details: str = "") -> Reply:
    """An error that fits: the beginning of the sentence, the end of the details."""
    sentence = _plain(sentence)[:SENTENCE_CHARS_MAX]
    room = ERROR_CHARS_MAX - len(sentence) - 1
    return Reply(False, b"", f"{sentence}\n{_plain(details)[-room:]}".rstrip(), 0.0)


def _plain(text: str) -> str:
    """Without lone surrogates, which msgpack could not send."""
    return text.encode(errors="backslashreplace").decode()


if __name__ == "__main__":
    main()
