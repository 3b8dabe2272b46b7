"""Commands as a person types them, each a process of its own that has nothing left to import: forked from one that has.

    run(["nodes", "--json"], cwd=home, env=at_home(home))      as `subprocess.run` of `python -P -m parley nodes --json`

The first call starts `python -P warm_commands.py FD`, the stem: it imports what commands import, and forks for every
call. The child takes over folder, environment, arguments and files, and does what `python -m parley` does. What only a
real start shows, such as which modules a command loads, is seen by test_lean_start, and by all tests that start an
agent, `begun` something, or run the pages of docs/ and the README.

Invariant: the stem goes with the process that has started it, whose end of their socket is then closed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

LOADED = ("parley.launch", "parley.launch.commands", "parley.launch.analysis")
"""All modules of these packages, with what they import; and besides what is imported when it is called:"""
BESIDES = ("rich.live", "rich.markup", "rich.progress", "rich.table", "tomllib")
PIECE = 65_536


def run(
    words: Sequence[str], *, cwd: Path | None, env: Mapping[str, str], stdin: str | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; without `stdin` it reads /dev/null. Raises TimeoutExpired, and ends it."""
    given = None if stdin is None else stdin.encode()
    ended = run_bytes(words, cwd=cwd, env=env, stdin=given, timeout_s=timeout_s)
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def run_bytes(
    words: Sequence[str],
    *,
    cwd: Path | None,
    env: Mapping[str, str],
    stdin: bytes | None = None,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[bytes]:
    """The same, its input and its output as they are."""
    call, theirs = socket.socketpair()
    with call, ExitStack() as mine, ThreadPoolExecutor(3) as threads:
        with theirs, ExitStack() as given:
            files = [given.enter_context(open(os.devnull)).fileno()]
            if stdin is not None:
                files[0], written = os.pipe()
                given.callback(os.close, files[0])
                threads.submit(_write, written, stdin)
            pipes = [os.pipe() for _ in range(2)]
            for _, written in pipes:
                files.append(written)
                given.callback(os.close, written)
            outputs = [mine.enter_context(open(read, "rb")) for read, _ in pipes]
            socket.send_fds(_stem(), [b"."], [theirs.fileno(), *files])
        told = [threads.submit(output.read) for output in outputs]
        call.sendall(json.dumps([list(words), str(cwd or Path.cwd()), dict(env)]).encode())
        call.shutdown(socket.SHUT_WR)
        lines = call.makefile()
        pid = int(lines.readline())
        call.settimeout(timeout_s)
        try:
            code = int(lines.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), timeout_s) from None
        return subprocess.CompletedProcess(list(words), code, *(future.result() for future in told))


def _write(file: int, data: bytes) -> None:
    with open(file, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):  # it may have read enough
        left = memoryview(data)
        while left:
            left = left[pipe.write(left) :]


_starting = threading.Lock()


def _stem() -> socket.socket:
    """Our end of the socket to it; it is started once in a process."""
    with _starting:
        return _started()


@functools.cache
def _started() -> socket.socket:
    mine, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-P", __file__, str(theirs.fileno())]
        subprocess.run(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, check=True)
    return mine


# --- in the stem


def serve(control: socket.socket) -> None:
    """Fork for every call, and tell how each ends; returns in the process of a command, with all that is its own."""
    for package in LOADED:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    for name in BESIDES:
        importlib.import_module(name)
    gc.freeze()  # what is shared with all children is not written to
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.set_wakeup_fd(waking.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(PIECE)
            _tell(running)
        if control not in ready:
            continue
        asked, files, *_ = socket.recv_fds(control, 1, 4)
        if not asked:
            sys.exit()
        call = socket.socket(fileno=files[0])
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (control, woken, waking, *running.values()):
                other.close()
            return _become(call, files[1:])
        running[pid] = call
        for file in files[1:]:
            os.close(file)


def _tell(running: dict[int, socket.socket]) -> None:
    """Whoever asked for what has ended learns how."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as call, contextlib.suppress(BrokenPipeError):  # who waited for it may have given up
            call.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(call: socket.socket, files: Sequence[int]) -> None:
    """The command that is asked for."""
    with call:
        call.sendall(f"{os.getpid()}\n".encode())
        text = b""
        while piece := call.recv(PIECE):
            text += piece
    words, folder, environment = json.loads(text)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = words


def play(control: socket.socket) -> None:
    """Be the stem, and then a command: what `python -m parley` does, but for tidying up what it shares with all."""
    if os.fork():
        os._exit(0)  # the stem is nobody's child: tests look for children that are left
    code = 1

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(end)  # the first that is registered is the last that is called
    serve(control)
    try:
        runpy.run_module("parley", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
        raise


if __name__ == "__main__":
    play(socket.socket(fileno=int(sys.argv[1])))
