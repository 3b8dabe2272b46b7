"""Endpoints over real sockets: they find each other, lose each other, and bear with strangers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zmq
from transport_samples import Carry, Say, make_links

from parley.protocols.core import Message, NodeId, PeerError
from parley.transport.address import AddressError, beside, exact
from parley.transport.codec import FRAME_BYTES_MAX
from parley.transport.link import LINK_ITEMS_MAX
from parley.transport.links import Cause
from parley.transport.zeromq import Endpoint

WAIT_S = 10.0


class Peer:
    """An endpoint that remembers what it was told, and can be waited for."""

    def __init__(self, node: NodeId, bind: str | None, incarnation: int = 1) -> None:
        self.node = node
        self.incarnation = incarnation
        self.heard: list[tuple[NodeId, Message]] = []
        self.causes: list[str] = []
        self.subscribed: list[NodeId] = []
        self.unsubscribed: list[NodeId] = []
        self.disconnected: list[NodeId] = []
        self.garbage: list[PeerError] = []
        self.answer: Callable[[NodeId, Message], None] = lambda sender, message: None
        self._changed = asyncio.Event()
        self.endpoint = Endpoint(
            make_links(node, incarnation),
            bind=bind,
            on_message=self._on_message,
            on_subscribed=self.subscribed.append,
            on_unsubscribed=self.unsubscribed.append,
            on_disconnected=self.disconnected.append,
            on_garbage=self.garbage.append,
            on_turn=self._changed.set,
        )

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        self.heard.append((sender, message))
        self.causes.append(str(cause))
        self.answer(sender, message)

    def connect(self, other: Peer) -> None:
        self.endpoint.connect(other.node, other.incarnation, other.endpoint.address, other.endpoint.announcements)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that this peer was told makes the condition true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def has_listeners(self, count: int) -> None:
        await self.until(lambda: len(set(self.subscribed)) == count)

    async def hears(self, count: int) -> None:
        await self.until(lambda: len(self.heard) == count)


Make = Callable[..., Peer]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Peer] = []

    def peer(node: NodeId, bind: str | None = "tcp://127.0.0.1:0", incarnation: int = 1) -> Peer:
        made.append(Peer(node, bind, incarnation))
        return made[-1]

    yield peer
    for each in made:
        each.endpoint.close()


async def meet(*peers: Peer) -> None:
    """Connect all with all, and wait until each hears each other."""
    for peer in peers:
        for other in peers:
            if other is not peer:
                peer.connect(other)
    for peer in peers:
        await peer.has_listeners(len(peers) - 1)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- addresses -------------------------------------------------------------------------------------------------------


def test_addresses_are_made_exact() -> None:
    assert exact("tcp://localhost:80", bind=False) in ("tcp://127.0.0.1:80", "tcp://[::1]:80")
    assert exact("tcp://[::1]:0", bind=True) == "tcp://[::1]:0"
    assert exact("tcp://*:0", bind=True) == "tcp://*:0"
    assert beside("tcp://[::1]:70") == ["tcp://[::1]:71", "tcp://[::1]:0"]
    assert beside("tcp://h:0") == beside("tcp://h:65535") == ["tcp://h:0"]
    assert beside("ipc:///x") == ["ipc:///x.all"]


@pytest.mark.parametrize(
    "address",
    [
        *("", "host:1", "udp://h:1", "tcp://h", "tcp://:5", "tcp://h:0", "tcp://h:x", "tcp://h:70000", "tcp://*:5"),
        *("tcp://::1:5", "tcp://no.such.host.invalid:5", "ipc://", "ipc://" + "x" * 200, "tcp://h:²"),
    ],
)
def test_what_cannot_be_dialled_is_told_in_a_sentence(address: str) -> None:
    with pytest.raises(AddressError, match=r": (write|give|check) "):
        exact(address, bind=False)


async def test_a_port_or_path_in_use_is_told_and_nothing_leaks(make: Make, tmp_path: Path) -> None:
    over_tcp, over_ipc = make("n1"), make("n2", f"ipc://{tmp_path}/n2")
    before = open_descriptors()
    for taken in (over_tcp.endpoint.address, over_ipc.endpoint.address, "tcp://192.0.2.1:0"):
        with pytest.raises(AddressError, match=r"choose another|bind one of its own"):
            Peer("n3", taken)
    assert open_descriptors() == before


async def test_a_fixed_port_has_its_announcements_beside_it(make: Make) -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
    peer = make("n1", f"tcp://127.0.0.1:{port}")
    assert peer.endpoint.address == f"tcp://127.0.0.1:{port}"
    assert peer.endpoint.announcements.startswith("tcp://127.0.0.1:")
    assert peer.endpoint.announcements != peer.endpoint.address


# --- talking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["tcp4", "tcp6", "ipc"])
def bind(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    match request.param:
        case "tcp4":
            return lambda node: "tcp://127.0.0.1:0"
        case "tcp6":
            return lambda node: "tcp://[::1]:0"
    return lambda node: f"ipc://{tmp_path}/{node}"


async def test_two_meet_ask_answer_and_publish(make: Make, bind: Callable[[str], str]) -> None:
    a, b = make("a", bind("a")), make("b", bind("b"))
    b.answer = lambda sender, message: b.endpoint.send(sender, Say(2))
    await meet(a, b)
    a.endpoint.send("b", Say(1))
    await a.until(lambda: a.heard)
    assert (b.heard, a.heard) == ([("a", Say(1))], [("b", Say(2))])
    a.endpoint.publish(Say(3))
    await b.until(lambda: len(b.heard) == 2)
    assert b.heard[1:] == [("a", Say(3))]
    assert b.causes[1] == "a:!1.0"


async def test_a_client_needs_no_address_of_its_own(make: Make, bind: Callable[[str], str]) -> None:
    agent, client = make("a", bind("a")), make("c", None)
    agent.answer = lambda sender, message: agent.endpoint.send(sender, message)
    alias = client.endpoint.open(agent.endpoint.address)
    for number in range(100):
        client.endpoint.send(alias, Say(number))
    await client.until(lambda: len(client.heard) == 100)
    assert client.heard == [("a", Say(number)) for number in range(100)]
    assert client.endpoint.links.name(alias) == "a"
    assert client.endpoint.links.counters.packets_sent < 10
    assert client.endpoint.address == ""


async def test_large_messages_pass(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    payload = os.urandom(4 * 1024 * 1024)
    a.endpoint.send("b", Carry(payload))
    await b.until(lambda: b.heard)
    assert b.heard == [("a", Carry(payload))]


async def test_many_messages_stay_in_order(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    sent = 0
    while sent < 30_000:
        for _ in range(min(500, a.endpoint.links.room("b"))):
            a.endpoint.send("b", Say(sent))
            sent += 1
        await asyncio.sleep(0)
    await b.until(lambda: len(b.heard) == sent)
    assert b.heard == [("a", Say(number)) for number in range(sent)]
    assert not a.endpoint.links.counters.drops


async def test_everyone_hears_what_is_published(make: Make) -> None:
    peers = [make(f"n{i}") for i in range(5)]
    await meet(*peers)
    for number in range(200):
        peers[0].endpoint.publish(Say(number))
        if number % 20 == 0:
            await asyncio.sleep(0)
    for peer in peers[1:]:
        await peer.hears(200)
        assert peer.heard == [("n0", Say(number)) for number in range(200)]


async def test_a_late_listener_hears_what_is_new_and_pulls_what_it_is_told_of(make: Make) -> None:
    a, b, late = make("a"), make("b"), make("late")
    await meet(a, b)
    a.endpoint.publish(Say(1))
    await b.until(lambda: b.heard)
    late.connect(a)
    await a.until(lambda: "late" in a.subscribed)
    a.endpoint.publish(Say(2))
    await late.until(lambda: late.heard)
    assert late.heard == [("a", Say(2))]


async def test_a_lost_subscription_is_seen_and_its_hole_is_mended(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    a.endpoint.publish(Say(1))
    await b.until(lambda: b.heard)
    assert b.endpoint._ears is not None
    b.endpoint._ears.leave("a")  # the subscription alone is lost
    await a.until(lambda: a.unsubscribed == ["b"])
    a.endpoint.publish(Say(2))
    a.subscribed.clear()
    b.endpoint._ears.join(a.endpoint.announcements, "a")
    await a.until(lambda: a.subscribed == ["b"])
    a.endpoint.publish(Say(3))
    await b.until(lambda: len(b.heard) == 3)
    assert b.heard[0] == ("a", Say(1))
    mended = b.heard.index(("a", Say(2)))  # it may come before or after what is announced next
    assert b.causes[mended] == "a:!2.0"


# --- losing each other -----------------------------------------------------------------------------------------------


async def test_a_closed_peer_is_hinted_at_and_its_next_life_is_heard(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    address = b.endpoint.address
    b.endpoint.close()
    await a.until(lambda: a.disconnected == ["b"])
    a.endpoint.send("b", Say(1))  # for the former life: must never arrive
    reborn = make("b", address, incarnation=2)
    reborn.connect(a)
    reborn.endpoint.send("a", Say(2))
    await a.until(lambda: a.heard)
    a.connect(reborn)
    a.endpoint.send("b", Say(3))
    await reborn.until(lambda: reborn.heard)
    assert reborn.heard == [("a", Say(3))]
    assert a.endpoint.links.counters.drops["reborn"] == 1


async def test_a_peer_that_moved_is_followed_and_old_news_of_it_is_ignored(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    old = (b.endpoint.address, b.endpoint.announcements)
    b.endpoint.close()
    moved = make("b", incarnation=2)
    a.connect(moved)
    await moved.until(lambda: moved.subscribed == ["a"])
    a.endpoint.connect("b", 1, *old)
    a.endpoint.send("b", Say(1))
    moved.endpoint.publish(Say(2))
    await moved.hears(1)
    await a.hears(1)
    assert (moved.heard, a.heard) == ([("a", Say(1))], [("b", Say(2))])


async def test_a_stranger_on_a_dead_peers_port_hears_nothing(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    address = b.endpoint.address
    b.endpoint.close()
    await a.until(lambda: a.disconnected == ["b"])
    stranger = make("x", address)
    a.endpoint.send("b", Say(1))
    await stranger.until(lambda: stranger.endpoint.links.counters.drops["stranger"])
    assert stranger.heard == []
    a.endpoint.disconnect("b")
    a.connect(stranger)
    a.endpoint.send("x", Say(2))
    await stranger.until(lambda: stranger.heard)
    assert stranger.heard == [("a", Say(2))]


async def test_what_was_said_while_the_connection_was_down_arrives(make: Make) -> None:
    """A proxy between the two is cut and comes back: both lives go on, and nothing is lost or doubled."""
    agent, client = make("a"), make("c", None)
    port = int(agent.endpoint.address.rpartition(":")[2])
    proxy = await Proxy.start(port)
    alias = client.endpoint.open(proxy.address)
    client.endpoint.send(alias, Say(0))
    await agent.until(lambda: agent.heard)
    await proxy.cut()
    await client.until(lambda: client.disconnected == ["a"])
    for number in range(1, 50):
        client.endpoint.send(alias, Say(number))
    agent.endpoint.send("c", Say(99))
    await proxy.mend()
    await agent.until(lambda: len(agent.heard) == 50)
    await client.until(lambda: client.heard)
    assert agent.heard == [("c", Say(number)) for number in range(50)]
    assert client.heard == [("a", Say(99))]
    await proxy.cut()


class Proxy:
    """Carries bytes to a port, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._port = 0

    @classmethod
    async def start(cls, target: int) -> Proxy:
        proxy = cls(target)
        await proxy.mend()
        return proxy

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        except ConnectionError:
            pass
        finally:
            sink.close()


# --- strangers -------------------------------------------------------------------------------------------------------


async def test_garbage_is_counted_and_harms_nobody(make: Make) -> None:
    agent, client = make("a"), make("c", None)
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(agent.endpoint.address)
        for nonsense in ([os.urandom(50)], [b""], [b"a", b"b"], [b"\x91" * 100_000], [b"\x80" * 1_000_000]):
            stranger.send_multipart(nonsense)
        await agent.until(lambda: len(agent.garbage) == 5)
        stranger.send_multipart([b"x"] * 1000)
        await agent.until(lambda: len(agent.garbage) == 6)
        assert "too many frames" in str(agent.garbage[-1])
        stranger.send(b"not heard any more")
        alias = client.endpoint.open(agent.endpoint.address)
        client.endpoint.send(alias, Say(1))
        await agent.until(lambda: agent.heard)
        assert len(agent.garbage) == 6
        assert agent.endpoint.links.counters.drops["garbage"] == 6


async def test_too_many_frames_in_what_is_published_mute_nobody_else(make: Make) -> None:
    """All announcements begin alike: their first frame is no name by which one could be ignored."""
    a, b, c = make("a"), make("b"), make("c")
    await meet(a, b, c)
    everyone = a.endpoint._everyone
    assert everyone is not None
    everyone.socket.send_multipart([b"!", *[b""] * 20])
    await b.until(lambda: b.garbage)
    assert "too many frames" in str(b.garbage[-1])
    c.endpoint.publish(Say(1))
    await b.until(lambda: b.heard)
    assert b.heard == [("c", Say(1))]


async def test_other_protocols_and_oversized_frames_are_shut_out(make: Make) -> None:
    agent, client = make("a"), make("c", None)
    port = int(agent.endpoint.address.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n" * 10)  # libzmq takes it for the framing of ZMTP 1.0
    await agent.until(lambda: agent.garbage)
    writer.close()
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        stranger.connect(agent.endpoint.address)
        stranger.send(bytes(FRAME_BYTES_MAX + 1))
        assert await asyncio.to_thread(monitor.poll, int(WAIT_S * 1000))
        stranger.disable_monitor()
        monitor.close()
    alias = client.endpoint.open(agent.endpoint.address)
    client.endpoint.send(alias, Say(1))
    await agent.until(lambda: agent.heard)
    assert agent.heard == [("c", Say(1))]


async def test_a_false_listener_is_no_listener(make: Make) -> None:
    agent, listener = make("a"), make("b")
    with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
        stranger.linger = 0
        stranger.connect(agent.endpoint.announcements)
        for said in (b"\x01=\xff\xfe", b"\x01=", b"\x01=" + b"x" * 1000, b"\x01=a", b"hello", b""):
            stranger.send(said)
        listener.connect(agent)
        await agent.until(lambda: agent.subscribed and agent.garbage)
    assert agent.subscribed == ["b"]


# --- the house -------------------------------------------------------------------------------------------------------


async def test_closing_leaves_nothing_behind() -> None:
    before = open_descriptors()
    for _ in range(5):
        a, b, client = Peer("a", "tcp://127.0.0.1:0"), Peer("b", "tcp://127.0.0.1:0"), Peer("c", None)
        await meet(a, b)
        client.endpoint.open(a.endpoint.address)
        for peer in (a, b, client):
            peer.endpoint.close()
            peer.endpoint.close()
            peer.endpoint.flush()
    assert open_descriptors() == before


async def test_what_is_queued_leaves_before_closing(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    a.endpoint.send("b", Say(1))
    a.endpoint.close()
    await b.until(lambda: b.heard)
    assert b.heard == [("a", Say(1))]


async def test_an_answer_may_close_the_endpoint(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    b.answer = lambda sender, message: b.endpoint.close()
    a.endpoint.send("b", Say(1))
    a.endpoint.send("b", Say(2))
    await a.until(lambda: "b" in a.disconnected)
    assert b.heard[0] == ("a", Say(1))


async def test_a_flood_in_one_turn_is_bounded(make: Make) -> None:
    a, b = make("a"), make("b")
    await meet(a, b)
    for number in range(LINK_ITEMS_MAX + 10):
        a.endpoint.send("b", Say(number))
    await b.until(lambda: len(b.heard) == LINK_ITEMS_MAX)
    assert a.endpoint.links.counters.drops["queue"] == 10
