"""A node's commands as its agent sees them: asked for by way of the guard, signalled, ended.

    executor                        Guard                          guard.py
      | start(argv, ...) -> Child     | request, 3 descriptors ------> |
      | <--------- child.exited: code | <---------------------- exited |
      | child.end() ----------------> | -----------------------------> |
      | <------- child.ended: seconds | <----------------------- ended |
      | <------------- GuardLostError | (end of file)                  |

Invariants: requests go out in order, and none of them blocks. Whatever becomes of the guard, both futures of every
child are done in the end, and no group is left: if the guard dies first, its groups are killed from here (all but one
that it has started and not yet told us of). The guard is no subprocess of asyncio's: an interpreter that ends without
`close` would kill it then, before it has ended what it has started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgpack

from ...protocols.core import ProtocolError
from .guard import READ_BYTES, guard_command

CLOSE_S = 2.0
"""How long a guard may take to end once its agent has let go of it."""


class GuardLostError(Exception):
    """The guard cannot be started, or has died; the text is one sentence."""


class RefusedError(Exception):
    """The command cannot be started: the system's error number, and whether it is its folder's fault (else its
    program's)."""

    def __init__(self, number: int, folder: bool) -> None:
        super().__init__(os.strerror(number))
        self.number = number
        self.folder = folder


class Child:
    """A command that was asked for."""

    def __init__(self, guard: Guard, number: int) -> None:
        loop = asyncio.get_running_loop()
        self._guard = guard
        self._number = number
        self.pid: int | None = None
        """Of its leader, and of its group; None: not known yet."""
        self.exited: asyncio.Future[int] = loop.create_future()
        """The exit code of its leader, below zero the signal that killed it. RefusedError or GuardLostError: none."""
        self.exited.add_done_callback(asyncio.Future.exception)  # whoever stops a command does not ask how it ended
        self.ended: asyncio.Future[float] = loop.create_future()
        """CPU-seconds that it has used; nothing of its group is left."""

    def signal(self, number: int) -> None:
        """To its whole group."""
        self._guard.send("signal", self._number, number)

    def end(self) -> None:
        """Kill what is left of its group."""
        self._guard.send("end", self._number)

    def kill(self) -> None:
        """The same past the guard, while it is not known that its number may be another's by now."""
        if self.pid is not None and not self.ended.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def fail(self, error: Exception) -> None:
        if not self.exited.done():
            self.exited.set_exception(error)
        if not self.ended.done():
            self.ended.set_result(0.0)


class Guard:
    """One guard process and its children. Never raises: what fails is told by the futures of a child."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._requests: deque[tuple[memoryview, list[int]]] = deque()
        self._replies = msgpack.Unpacker()
        self._children: dict[int, Child] = {}
        self._count = 0
        self._loss = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: asyncio.Future[int] | None = None
        """It is let go of, and waited for."""
        self._loop.add_reader(self._socket, self._listen)
        self._spawn(theirs)

    @property
    def lost(self) -> bool:
        return bool(self._loss)

    def start(
        self,
        argv: Sequence[bytes],
        env: Mapping[bytes, bytes],
        cwd: bytes | None,
        descriptors: Sequence[int],
    ) -> Child:
        """`descriptors`: stdin, stdout and stderr, which are the guard's from now on."""
        self._count += 1
        child = Child(self, self._count)
        if self.lost:
            _close(descriptors)
            child.fail(GuardLostError(self._loss))
            return child
        self._children[self._count] = child
        self.send("start", self._count, list(argv), dict(env), cwd, descriptors=descriptors)
        return child

    def send(self, *request: object, descriptors: Sequence[int] = ()) -> None:
        """As far as the socket takes it; the rest follows when it takes more."""
        if not self.lost:
            self._requests.append((memoryview(msgpack.packb(request)), list(descriptors)))
            if len(self._requests) == 1:
                self._flush()

    async def close(self) -> None:
        """Returns when the guard is gone, and with it all that it has started."""
        self._lose("this node is shutting down")
        if self._process is not None and self._ending is not None:
            ended, _ = await asyncio.wait([self._ending], timeout=CLOSE_S)
            if not ended:
                self._process.kill()
                await self._ending

    def _spawn(self, theirs: socket.socket) -> None:
        try:
            with theirs:
                self._process = subprocess.Popen(
                    guard_command(), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
                )
        except OSError as error:
            self._lose(f"the guard of this node's commands cannot be started: {error}")

    def _flush(self) -> None:
        while self._requests:
            data, descriptors = self._requests[0]
            try:
                sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError as error:
                self._lose(f"the guard of this node's commands has died: {error}")
                return
            _close(descriptors)
            if sent < len(data):
                self._requests[0] = data[sent:], []
            else:
                self._requests.popleft()
        self._loop.remove_writer(self._socket)

    def _listen(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard(data)
        else:
            self._lose("the guard of this node's commands has died")

    def _heard(self, data: bytes) -> None:
        self._replies.feed(data)
        for reply in self._replies:
            self._told(reply)

    def _told(self, reply: object) -> None:
        match reply:
            case ["started", int(number), int(pid)]:
                self._children[number].pid = pid
            case ["refused", int(number), int(error), str(at)]:
                self._children.pop(number).fail(RefusedError(error, at == "cwd"))
            case ["exited", int(number), int(code)]:
                self._children[number].exited.set_result(code)
            case ["ended", int(number), float(cpu_s)]:
                self._children.pop(number).ended.set_result(cpu_s)
            case _:
                raise ProtocolError(f"the guard said {reply!r}")

    def _lose(self, sentence: str) -> None:
        if self.lost:
            return
        self._loss = sentence
        if self._process is not None:
            self._ending = self._loop.run_in_executor(None, self._process.wait)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        with self._socket, suppress(OSError):  # it may have said of some more that they have begun
            while data := self._socket.recv(READ_BYTES):
                self._heard(data)
        for _, descriptors in self._requests:
            _close(descriptors)
        self._requests.clear()
        for child in self._children.values():
            child.kill()
            child.fail(GuardLostError(sentence))
        self._children.clear()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
