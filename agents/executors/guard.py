"""The inside of the guard: the one process that starts a node's commands, and that outlives its agent for just as
long as it takes to end them.

The idea: whoever starts a process is the first to know it, so no command can slip away between its start and the death
of the agent, and whoever is its parent may ask what it has used (wait4). Each command leads a session, hence a process
group, of its own. Its output does not come this way: the agent hands in the ends of its pipes with the request.

    agent (guarded.py)                                       guard
      | ["start", n, argv, env, cwd], 3 descriptors -------> |
      | <--- ["started", n, pid] | ["refused", n, errno, at] |  at: "cwd" or "argv"
      | ["signal", n, number] -----------------------------> |  to the group
      | <-------------------------------- ["exited", n, code]|  the leader; below zero: the signal that killed it
      | ["end", n] ----------------------------------------> |  SIGKILL to the group
      | <------------------------------- ["ended", n, cpu_s] |  CPU-seconds of the leader and all it has waited for
      | (end of file: the agent is gone) ------------------> |  SIGKILL to every group, then it exits itself

Where the system lets it (Linux), the guard adopts what its commands leave behind, so it sees the last of a group go.

Invariants: a leader that has exited is left a zombie until its group is ended, so that the number of the group cannot
have become somebody else's (where the system has no waitid it is reaped at once); "ended" is said, and the guard exits,
when nobody of the group is left, dead or alive. Standard library and msgpack only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque

import msgpack

READ_BYTES = 64 * 1024
DESCRIPTORS = 3
"""stdin, stdout and stderr of a command come with its start."""
_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans among one's descendants become one's children."""


def guard_command() -> list[str]:
    """How a guard is started: with its agent's socket as stdin."""
    return [sys.executable, "-P", "-m", "parley.agents.executors.guard"]


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Guard(control).serve()


class _Leader:
    """The process that a command was started as."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        """Its own, and its group's."""
        self.code: int | None = None
        """How it has exited, as in subprocess."""
        self.cpu_s = 0.0
        self.ending = False

    def exited(self) -> bool:
        """Has it exited since the last look?"""
        if self.code is not None:
            return False
        if not hasattr(os, "waitid"):
            return self.reap()
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is None:
            return False
        self.code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        return True

    def reap(self) -> bool:
        """Lets go of it, if it has exited; its number may be another's from now on."""
        if self._process.returncode is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if not pid:
                return False
            self._process.returncode = self.code = os.waitstatus_to_exitcode(status)
            self.cpu_s = used.ru_utime + used.ru_stime
        return True

    def signal(self, number: int) -> None:
        """To its whole group, if somebody of it is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def bury(self, options: int = 0) -> bool:
        """Nobody of its group is left; with WNOHANG it may be that somebody is."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, options)[0]:
                pass
            return False
        return True


class Guard:
    """Serves the agent at the other end of `control`."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._requests = msgpack.Unpacker(max_buffer_size=0)
        self._descriptors: deque[int] = deque()
        self._leaders: dict[int, _Leader] = {}

    def serve(self) -> None:
        """Returns when the agent is gone and every group killed."""
        rings, bell = socket.socketpair()
        for end in (rings, bell):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGQUIT):  # a shell that starts an agent in the background ignores them
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        ready = selectors.DefaultSelector()
        ready.register(self._control, selectors.EVENT_READ)
        ready.register(rings, selectors.EVENT_READ)
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    for key, _ in ready.select():
                        if key.fileobj is rings:
                            rings.recv(READ_BYTES)
                        elif not self._listen():
                            return
                    self._look()
        finally:
            for leader in self._leaders.values():
                leader.signal(signal.SIGKILL)
            for leader in self._leaders.values():
                leader.bury()

    def _listen(self) -> bool:
        """What the agent wants; False: it is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, READ_BYTES, DESCRIPTORS)
        if not data:
            return False
        self._descriptors += descriptors
        self._requests.feed(data)
        for request in self._requests:
            self._do(request)
        return True

    def _do(self, request: object) -> None:
        match request:
            case ["start", int(number), list(argv), dict(env), (bytes() | None) as cwd]:
                self._start(number, argv, env, cwd)
            case ["signal", int(number), int(which)]:
                if leader := self._leaders.get(number):
                    leader.signal(which)
            case ["end", int(number)]:
                if leader := self._leaders.get(number):
                    leader.ending = True
                    leader.signal(signal.SIGKILL)

    def _start(self, number: int, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes | None) -> None:
        descriptors = [self._descriptors.popleft() for _ in range(DESCRIPTORS)]
        stdin, stdout, stderr = descriptors
        try:
            process = subprocess.Popen(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
            )
        except OSError as error:
            at = "cwd" if cwd and error.filename == cwd != argv[0] else "argv"
            self._tell("refused", number, error.errno or 0, at)
        else:
            self._leaders[number] = _Leader(process)
            self._tell("started", number, process.pid)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _look(self) -> None:
        """Who has exited, and who of those may be let go?"""
        for number, leader in list(self._leaders.items()):
            if leader.exited():
                self._tell("exited", number, leader.code)
            if leader.ending and leader.code is not None and leader.reap() and leader.bury(os.WNOHANG):
                del self._leaders[number]
                self._tell("ended", number, leader.cpu_s)
        self._bury_strangers()

    def _bury_strangers(self) -> None:
        """Whoever was left behind and has exited, but for leaders, until the first of these."""
        leaders = {leader.pid for leader in self._leaders.values()}
        if not hasattr(os, "waitid"):
            return
        with contextlib.suppress(ChildProcessError):
            while end := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if end.si_pid in leaders:
                    return
                os.waitpid(end.si_pid, 0)

    def _tell(self, *message: object) -> None:
        self._control.sendall(msgpack.packb(message))


if __name__ == "__main__":
    main()
