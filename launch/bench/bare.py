"""The yardstick: the same exchange over bare sockets, drained on the asyncio loop, with nothing of Parley in it.

    client -- submit --> n1 -- submitted --> client
    n1 -- call (PUB) --> n2 … nN -- proposal --> n1
    n1 -- award --> winner -- inform --> n1 -- result --> client
    client -- request --> n1 -- reply --> client                       the shortest thing that can be asked

No validation, no log, no acknowledgement, no lease: msgpack lists over the fewest sockets. n1 bids too, by a function
call; the winner is drawn at random. Each node is a process of its own:

    python -P -m parley.launch.bench.bare NODES                        the initiator; prints its two addresses
    python -P -m parley.launch.bench.bare NODES NUMBER ROUTER PUB      a participant
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable

import msgpack
import zmq

CALL, PROPOSAL, AWARD, INFORM, SUBMIT, SUBMITTED, RESULT, HELLO, REQUEST, REPLY = range(10)
Frames = list[bytes]


class Drained:
    """Sockets read to EAGAIN by hand, whenever the loop sees one of them readable or something was sent."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self._taps: list[tuple[zmq.Socket[bytes], Callable[[Frames], None]]] = []
        self._scheduled = False

    def socket(self, kind: int, take: Callable[[Frames], None] | None = None) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        if take is not None:
            self._taps.append((socket, take))
            asyncio.get_running_loop().add_reader(socket.fileno(), self.drain)
        return socket

    def drain(self) -> None:
        self._scheduled = False
        more = True
        while more:
            more = False
            for socket, take in self._taps:
                while True:
                    try:
                        frames = socket.recv_multipart(zmq.DONTWAIT)
                    except zmq.Again:
                        break
                    more = True
                    take(frames)

    def close(self) -> None:
        for socket, _ in self._taps:
            asyncio.get_running_loop().remove_reader(socket.fileno())
        self._taps.clear()
        self.context.destroy(linger=0)

    def sent(self) -> None:
        """Sending may have swallowed what the descriptor would have said: look again this turn."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.drain)


class Participant:
    """Bids for every call; informs at once when awarded."""

    def __init__(self, number: int, router: str, pub: str) -> None:
        self._number = number
        drained = self._drained = Drained()
        self._to_initiator = drained.socket(zmq.DEALER, self._take)
        self._to_initiator.setsockopt(zmq.ROUTING_ID, str(number).encode())
        self._to_initiator.connect(router)
        listening = drained.socket(zmq.SUB, self._take)
        listening.setsockopt(zmq.SUBSCRIBE, b"")
        listening.connect(pub)

    def _take(self, frames: Frames) -> None:
        what, task, *_ = msgpack.unpackb(frames[0])
        if what == HELLO:
            self._to_initiator.send(msgpack.packb([HELLO, self._number]), zmq.DONTWAIT)
        elif what == CALL:
            self._to_initiator.send(msgpack.packb([PROPOSAL, task, self._number, 0.5]), zmq.DONTWAIT)
        else:
            self._to_initiator.send(msgpack.packb([INFORM, task, b"done"]), zmq.DONTWAIT)
        self._drained.sent()


class Initiator:
    """Calls, waits for all proposals, draws a winner, awards, tells the client."""

    def __init__(self, participants: int) -> None:
        self._participants = participants
        self._random = random.Random(0)
        self._open: dict[str, tuple[bytes, list[int]]] = {}
        self._greeted: set[int] = set()
        self._drained = Drained()
        self._router = self._drained.socket(zmq.ROUTER, self._take)
        self._router.bind("tcp://127.0.0.1:0")
        self._pub = self._drained.socket(zmq.PUB)
        self._pub.bind("tcp://127.0.0.1:0")
        print(*(socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in (self._router, self._pub)), flush=True)

    def _take(self, frames: Frames) -> None:
        sender = frames[0]
        what, task, *rest = msgpack.unpackb(frames[1])
        if what == SUBMIT:
            self._open[task] = (sender, [1])
            self._router.send_multipart([sender, msgpack.packb([SUBMITTED, task])], zmq.DONTWAIT)
            self._pub.send(msgpack.packb([CALL, task, "echo", 1.0]), zmq.DONTWAIT)
        elif what == PROPOSAL:
            client, bidders = self._open[task]
            bidders.append(rest[0])
            if len(bidders) == self._participants:
                self._award(task, client, bidders)
        elif what == INFORM:
            self._end(task, self._open[task][0])
        elif what == REQUEST:
            self._router.send_multipart([sender, msgpack.packb([REPLY, task])], zmq.DONTWAIT)
        elif what == HELLO:
            self._greet(sender, task)
        self._drained.sent()

    def _award(self, task: str, client: bytes, bidders: list[int]) -> None:
        winner = self._random.choice(bidders)
        if winner == 1:
            self._end(task, client)
        else:
            self._router.send_multipart([str(winner).encode(), msgpack.packb([AWARD, task, b"payload"])], zmq.DONTWAIT)

    def _end(self, task: str, client: bytes) -> None:
        del self._open[task]
        self._router.send_multipart([client, msgpack.packb([RESULT, task])], zmq.DONTWAIT)

    def _greet(self, sender: bytes, number: int) -> None:
        """The client asks (0) until all participants have heard a publication and said so."""
        if number:
            self._greeted.add(number)
            return
        self._pub.send(msgpack.packb([HELLO, 0]), zmq.DONTWAIT)
        if len(self._greeted) == self._participants - 1:
            self._router.send_multipart([sender, msgpack.packb([HELLO, 0])], zmq.DONTWAIT)


class Client:
    """Keeps a number of tasks in flight, or waits until all have ended."""

    def __init__(self, router: str) -> None:
        self._drained = Drained()
        self._socket = self._drained.socket(zmq.DEALER, self._take)
        self._socket.connect(router)
        self._ready = asyncio.Event()
        self.ended = 0
        self._number = 0
        self._keeps = False
        self._goal = 0
        self._reached = asyncio.Event()

    async def ready(self) -> None:
        while not self._ready.is_set():
            self._socket.send(msgpack.packb([HELLO, 0]), zmq.DONTWAIT)
            self._drained.sent()
            await asyncio.sleep(0.02)

    def begin(self, in_flight: int) -> None:
        self._keeps = True
        for _ in range(in_flight):
            self._send(SUBMIT)

    async def end(self, number: int, what: int = SUBMIT) -> None:
        """Send so many at once, tasks or requests, and wait until all have ended."""
        self._goal = self.ended + number
        self._reached.clear()
        for _ in range(number):
            self._send(what)
        await self._reached.wait()

    def close(self) -> None:
        self._keeps = False
        self._drained.close()

    def _send(self, what: int) -> None:
        self._number += 1
        self._socket.send(msgpack.packb([what, f"task-{self._number:08}", "echo"]), zmq.DONTWAIT)
        self._drained.sent()

    def _take(self, frames: Frames) -> None:
        what = msgpack.unpackb(frames[0])[0]
        if what == HELLO:
            self._ready.set()
        if what not in (RESULT, REPLY):
            return
        self.ended += 1
        if self._keeps:
            self._send(SUBMIT)
        elif self.ended == self._goal:
            self._reached.set()


async def _serve(nodes: int, participant: list[str]) -> None:
    node = Participant(int(participant[0]), *participant[1:]) if participant else Initiator(nodes)
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), closed.set)  # whoever started us holds the other end
    await closed.wait()
    del node


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2:]))
