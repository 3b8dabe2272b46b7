"""Who gets in, row by row: each is somebody who must not, over real sockets, beside somebody who may."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zmq
from transport_samples import SAMPLES, Say, make_links

from parley.protocols.core import Message, NodeId, PeerError
from parley.transport import zeromq
from parley.transport.clock import HybridClock
from parley.transport.codec import VERSION, Bulletin, Codec, Packet
from parley.transport.links import Cause, Links
from parley.transport.security import (
    ALLOWED,
    SECRET,
    Entry,
    Gate,
    KeysError,
    Ring,
    allow,
    certified,
    certifies,
    entry,
    make,
)
from parley.transport.zeromq import Endpoint

WAIT_S = 10.0
CODEC = Codec(SAMPLES)


@pytest.fixture
def rings(tmp_path: Path) -> Callable[..., Ring]:
    """A machine's ring, made when it is first asked for; it lets in those that are named."""

    def ring(name: str, *lets_in: str) -> Ring:
        folder = tmp_path / name
        if not folder.exists():
            make(folder, name)
        allow(folder, tuple(ring(other).entry for other in lets_in))
        return Ring.read(folder)

    return ring


def together(rings: Callable[..., Ring], *names: str) -> list[Ring]:
    """All let each other in."""
    return [rings(name, *(other for other in names if other != name)) for name in names]


class Peer:
    """An endpoint with keys, that remembers what it was told; `claims` is who it says it is."""

    def __init__(self, ring: Ring | None, claims: NodeId, *, bind: bool = True, incarnation: int = 1) -> None:
        self.ring = ring
        self.incarnation = incarnation
        self.heard: list[tuple[NodeId, Message]] = []
        self.subscribed: list[NodeId] = []
        self.garbage: list[str] = []
        self._changed = asyncio.Event()
        vouches = ring.vouches if ring is not None else lambda node, key: True
        self.links = Links(claims, incarnation, CODEC, HybridClock(lambda: 1.0), vouches=vouches)
        self.endpoint = Endpoint(
            self.links,
            bind="tcp://127.0.0.1:0" if bind else None,
            ring=ring,
            on_message=self._on_message,
            on_subscribed=self.subscribed.append,
            on_garbage=lambda error: self.garbage.append(str(error)),
            on_turn=self._changed.set,
        )

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        self.heard.append((sender, message))

    def connect(self, other: Peer) -> None:
        self.endpoint.connect(other.links.node, other.incarnation, other.endpoint.address, other.endpoint.announcements)

    async def has_listeners(self, count: int) -> None:
        await self.until(lambda: len(set(self.subscribed)) == count)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)


Join = Callable[..., Peer]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    made: list[Peer] = []

    def peer(ring: Ring | None, claims: NodeId, *, bind: bool = True, incarnation: int = 1) -> Peer:
        made.append(Peer(ring, claims, bind=bind, incarnation=incarnation))
        return made[-1]

    yield peer
    for each in made:
        each.endpoint.close()


async def meet(*peers: Peer) -> None:
    for peer in peers:
        for other in peers:
            if other is not peer:
                peer.connect(other)
    for peer in peers:
        await peer.has_listeners(len(peers) - 1)


# --- names and keys --------------------------------------------------------------------------------------------------


def test_an_entry_is_what_is_shown_and_nothing_else(rings: Callable[..., Ring]) -> None:
    own = rings("n1").entry
    assert entry(str(own)) == own
    key = own.key
    for bad in ("", "n1", f"n1:{key[:-1]}", f"n1:{key}x", f":{key}", f"n 1:{key}", f"n1:{key.upper()}"):
        with pytest.raises(KeysError, match="is no key: write NAME:KEY"):
            entry(bad)


def test_a_certified_name_is_bound_to_its_key_and_nonce(rings: Callable[..., Ring]) -> None:
    ours, theirs = rings("n1").key, rings("n2").key
    name = certified("client", ours, b"nonce")
    assert certifies(name, ours)
    assert not certifies(name, theirs)
    assert certified("client", ours, b"other") != name
    assert not certifies(name.replace("client", "agent"), ours)
    assert not certifies("client~", ours)
    assert not certifies("n1", ours)
    assert len(name) <= 64


def test_a_ring_vouches_for_names_by_their_keys(rings: Callable[..., Ring]) -> None:
    n1, n2, n3 = together(rings, "n1", "n2", "n3")
    assert n1.vouches("n2", n2.key)
    assert n1.vouches("n2.worker", n2.key)
    assert not n1.vouches("n2", n3.key)
    assert not n1.vouches("n2.worker", n3.key)
    assert not n1.vouches("n22", n2.key)
    assert not n1.vouches("somebody", n2.key)
    assert not n1.vouches("n2", None)
    assert not n1.vouches("n2", rings("stranger").key)
    assert n1.vouches(certified("client", n2.key, b"nonce"), n2.key)
    assert not n1.vouches(certified("client", n2.key, b"nonce"), n3.key)
    assert n1.vouches("anything", n1.key), "whoever has our secret is us: local fleets share one"
    assert not n1.vouches("n2", n1.key)


def test_the_closest_entry_decides(tmp_path: Path, rings: Callable[..., Ring]) -> None:
    n1 = rings("n1", "n2")
    own = Entry("n2.door", rings("n3").key)
    allow(n1.folder, (own,))
    n1.refresh()
    assert n1.keys_of("n2.door") == (own.key,)
    assert not n1.vouches("n2.door", rings("n2").key)
    assert n1.vouches("n2.window", rings("n2").key)


# --- the folder ------------------------------------------------------------------------------------------------------


def test_secrets_are_for_their_owner_only(rings: Callable[..., Ring]) -> None:
    folder = rings("n1").folder
    assert (folder / SECRET).stat().st_mode & 0o777 == 0o600
    for mode in (0o640, 0o604, 0o660):
        (folder / SECRET).chmod(mode)
        with pytest.raises(KeysError, match=r"others can read .*secret: say `chmod 600 "):
            Ring.read(folder)


def test_nobody_else_may_write_the_list(rings: Callable[..., Ring]) -> None:
    folder = rings("n1", "n2").folder
    (folder / ALLOWED).chmod(0o666)
    with pytest.raises(KeysError, match=r"others can change .*allowed: say `chmod 644 "):
        Ring.read(folder)


def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path: Path, rings: Callable[..., Ring]) -> None:
    with pytest.raises(KeysError, match="make one with `parley keys new`"):
        Ring.read(tmp_path / "nowhere")
    ring = rings("n1")
    with pytest.raises(KeysError, match="there is a key in"):
        make(ring.folder, "n1")
    with pytest.raises(KeysError, match="is no name for a key"):
        make(tmp_path / "new", "n 1")
    (ring.folder / SECRET).write_text("n1:short\n")
    with pytest.raises(KeysError, match="holds no key"):
        Ring.read(ring.folder)


def test_the_list_is_read_anew_and_a_broken_one_changes_nothing(rings: Callable[..., Ring]) -> None:
    ring, other, third = rings("n1", "n2"), rings("n2"), rings("n3")
    assert not ring.refresh()
    allow(ring.folder, (third.entry,))
    assert ring.refresh()
    assert ring.vouches("n3", third.key)
    (ring.folder / ALLOWED).write_text(f"{other.entry}\nnonsense\n")
    with pytest.raises(KeysError, match="'nonsense' is no key"):
        ring.refresh()
    assert ring.vouches("n3", third.key)
    (ring.folder / ALLOWED).write_text(f"# only these\n{other.entry}  # the second\n\n")
    assert ring.refresh()
    assert ring.vouches("n2", other.key)
    assert not ring.vouches("n3", third.key)
    (ring.folder / ALLOWED).unlink()
    assert ring.refresh()
    assert not ring.vouches("n2", other.key)


# --- who gets in -----------------------------------------------------------------------------------------------------


async def test_those_who_are_allowed_talk_and_publish(join: Join, rings: Callable[..., Ring]) -> None:
    names = ("n1", "n2", "n3")
    peers = [join(ring, name) for ring, name in zip(together(rings, *names), names, strict=True)]
    await meet(*peers)
    peers[0].endpoint.send("n2", Say(1))
    peers[0].endpoint.publish(Say(2))
    await peers[1].until(lambda: len(peers[1].heard) == 2)
    await peers[2].until(lambda: peers[2].heard)
    assert sorted(message.number for _, message in peers[1].heard if isinstance(message, Say)) == [1, 2]
    assert peers[2].heard == [("n1", Say(2))]
    assert [peer.garbage for peer in peers] == [[], [], []]


async def test_an_agent_at_an_address_is_found_among_all_keys(join: Join, rings: Callable[..., Ring]) -> None:
    """A client knows an address and whom it trusts, not which of them lives there."""
    names = [f"n{number}" for number in range(1, 7)]
    client = join(rings("client", *names), certified("client", rings("client").key, b"nonce"), bind=False)
    agent = join(rings("n5", "client"), "n5")
    alias = client.endpoint.open(agent.endpoint.address)
    client.endpoint.send(alias, Say(1))
    await agent.until(lambda: agent.heard)
    assert client.links.name(alias) == "n5"


async def heard_nothing_of(agent: Peer, friend: Peer, stranger: Peer) -> None:
    """A stranger knocks; a friend who knocked later is let in all the same, and nothing of the stranger is heard."""
    alias = stranger.endpoint.open(agent.endpoint.address)
    stranger.endpoint.send(alias, Say(13))
    stranger.endpoint.connect(agent.links.node, 1, agent.endpoint.address, agent.endpoint.announcements)
    stranger.endpoint.send(agent.links.node, Say(13))
    await stranger.until(lambda: stranger.endpoint.refusals)
    await meet(agent, friend)
    friend.endpoint.send(agent.links.node, Say(1))
    agent.endpoint.publish(Say(2))
    await agent.until(lambda: agent.heard)
    await friend.until(lambda: friend.heard)
    assert agent.heard == [(friend.links.node, Say(1))]
    assert stranger.heard == []
    assert set(agent.subscribed) == {friend.links.node}


async def test_an_unlisted_client_is_refused(join: Join, rings: Callable[..., Ring]) -> None:
    n1, n2 = together(rings, "n1", "n2")
    stranger = join(rings("stranger", "n1"), "stranger")
    await heard_nothing_of(join(n1, "n1"), join(n2, "n2"), stranger)
    assert set(stranger.endpoint.refusals.values()) == {"our key is not allowed there"}


async def test_a_wrong_server_key_is_nobody_we_talk_to(join: Join, rings: Callable[..., Ring]) -> None:
    """The name that we dial belongs to another key than that of whoever listens there."""
    n1, n2 = together(rings, "n1", "n2")
    wrong = join(rings("n3", "n2"), "n3")  # would talk to n1, and does not know its key
    await heard_nothing_of(join(n1, "n1"), join(n2, "n2"), wrong)
    assert set(wrong.endpoint.refusals.values()) == {"it proves none of the keys that are allowed here"}


async def test_without_curve_nobody_is_heard(join: Join, rings: Callable[..., Ring]) -> None:
    n1, n2 = together(rings, "n1", "n2")
    plain = join(None, "plain")
    await heard_nothing_of(join(n1, "n1"), join(n2, "n2"), plain)
    assert set(plain.endpoint.refusals.values()) == {"one side has keys and the other has none"}


async def test_with_curve_nobody_talks_to_a_plain_agent(join: Join, rings: Callable[..., Ring]) -> None:
    plain, careful = join(None, "n1"), join(rings("n2", "n1"), "n2")
    careful.connect(plain)
    careful.endpoint.send("n1", Say(1))
    await careful.until(lambda: careful.endpoint.refusals)
    assert plain.heard == []


async def test_a_gate_that_has_stopped_lets_nobody_in(
    join: Join, rings: Callable[..., Ring], monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, n2 = together(rings, "n1", "n2")
    opened = Endpoint._open_gate
    monkeypatch.setattr(Endpoint, "_open_gate", lambda self, ring: None)
    unguarded = join(n1, "n1")
    monkeypatch.setattr(Endpoint, "_open_gate", opened)
    friend = join(n2, "n2")
    friend.connect(unguarded)
    friend.endpoint.send("n1", Say(1))
    await friend.until(lambda: friend.endpoint.refusals)
    assert unguarded.heard == []


@pytest.mark.parametrize(
    "question",
    [
        [b"1.0", b"7", b"other", b"127.0.0.1", b"", b"CURVE", bytes(32)],
        [b"1.0", b"7", b"", b"127.0.0.1", b"", b"CURVE", bytes(32)],
        [b"1.0", b"7", b"parley", b"127.0.0.1", b"", b"NULL"],
        [b"1.0", b"7", b"parley", b"127.0.0.1", b"", b"PLAIN", b"me", b"word"],
        [b"1.0", b"7", b"parley", b"127.0.0.1", b"", b"CURVE", bytes(31)],
        [b"2.0", b"7", b"parley", b"127.0.0.1", b"", b"CURVE", bytes(32)],
        [b"1.0"],
        [],
    ],
)
def test_the_gate_lets_in_allowed_keys_of_its_domain_only(rings: Callable[..., Ring], question: list[bytes]) -> None:
    gate = Gate.__new__(Gate)
    gate._ring = rings("n1")
    assert gate._key(question) is None


async def test_a_list_that_grows_is_seen_without_a_restart(join: Join, rings: Callable[..., Ring]) -> None:
    n1, n2 = rings("n1"), rings("n2", "n1")
    agent, late = join(n1, "n1"), join(n2, "n2")
    late.connect(agent)
    late.endpoint.send("n1", Say(1))
    await late.until(lambda: late.endpoint.refusals)
    assert agent.heard == []
    allow(n1.folder, (n2.entry,))
    await agent.until(lambda: agent.heard)
    assert agent.heard == [("n2", Say(1))]


async def test_whoever_is_struck_off_is_not_heard_any_more(
    join: Join, rings: Callable[..., Ring], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zeromq, "REFRESH_S", 0.05)
    n1, n2 = together(rings, "n1", "n2")
    agent, other = join(n1, "n1"), join(n2, "n2")
    await meet(agent, other)
    (n1.folder / ALLOWED).write_text("# nobody\n")
    await agent.until(lambda: not n1.admits(n2.key))
    other.endpoint.send("n1", Say(1))
    other.endpoint.publish(Say(2))
    await agent.until(lambda: len(agent.garbage) >= 2)
    assert agent.heard == []
    assert all("calls itself n2, which is not its key's name" in said for said in agent.garbage)


# --- who says it -----------------------------------------------------------------------------------------------------


async def test_a_stolen_name_is_refused(join: Join, rings: Callable[..., Ring]) -> None:
    """n3 is let in, and calls itself n2: neither its messages, nor its subscription, nor its bulletins are n2's."""
    n1, n2, n3 = together(rings, "n1", "n2", "n3")
    agent, honest = join(n1, "n1"), join(n2, "n2")
    await meet(agent, honest)
    thief = join(n3, "n2", incarnation=99)
    thief.connect(agent)
    thief.endpoint.send("n1", Say(13))
    await agent.until(lambda: sum("calls itself" in said for said in agent.garbage) >= 2)
    assert any("a listener calls itself 'n2'" in said for said in agent.garbage)
    honest.endpoint.send("n1", Say(1))
    await agent.until(lambda: agent.heard)
    assert agent.heard == [("n2", Say(1))]
    assert agent.links.knows("n2") == 1, "the thief's incarnation has not made the honest one a former life"


async def test_a_bulletin_under_another_name_is_refused(join: Join, rings: Callable[..., Ring]) -> None:
    """n3 publishes what looks like n2's: it came by n3's socket."""
    n1, n2, n3 = together(rings, "n1", "n2", "n3")
    agent, honest, liar = join(n1, "n1"), join(n2, "n2"), join(n3, "n3")
    await meet(agent, honest, liar)
    forged = CODEC.encode(Bulletin(VERSION, "n2", 1, 1, 5, (CODEC.encode_message(Say(13)),)))
    everyone = liar.endpoint._everyone
    assert everyone is not None
    everyone.socket.send_multipart([b"!", forged])
    await agent.until(lambda: agent.garbage)
    assert "a peer calls itself n2" in agent.garbage[0]
    honest.endpoint.publish(Say(1))
    await agent.until(lambda: agent.heard)
    assert agent.heard == [("n2", Say(1))]


async def test_a_name_that_listens_elsewhere_is_not_believed(join: Join, rings: Callable[..., Ring]) -> None:
    """A third party says that n2 lives where n3 listens: whoever answers there cannot prove n2's key."""
    n1, n2, n3 = together(rings, "n1", "n2", "n3")
    agent, impostor = join(n1, "n1"), join(n3, "n3")
    agent.endpoint.connect("n2", 7, impostor.endpoint.address, impostor.endpoint.announcements)
    agent.endpoint.send("n2", Say(1))
    await agent.until(lambda: agent.endpoint.refusals)
    honest = join(n2, "n2", incarnation=8)
    agent.connect(honest)
    agent.endpoint.send("n2", Say(2))
    await honest.until(lambda: honest.heard)
    assert impostor.heard == []
    assert honest.heard == [("n1", Say(2))]


async def test_an_address_that_is_claimed_by_two_is_its_owners(join: Join, rings: Callable[..., Ring]) -> None:
    """n3 says first that it lives where n2 listens: it does not cut n2 off."""
    n1, n2, _ = together(rings, "n1", "n2", "n3")
    agent, honest = join(n1, "n1"), join(n2, "n2")
    agent.endpoint.connect("n3", 1, honest.endpoint.address, honest.endpoint.announcements)
    await agent.until(lambda: agent.endpoint.refusals)
    await meet(agent, honest)
    agent.endpoint.send("n2", Say(1))
    await honest.until(lambda: honest.heard)
    assert honest.heard == [("n1", Say(1))]


# --- what was said before --------------------------------------------------------------------------------------------


def test_a_packet_that_comes_again_is_heard_once() -> None:
    """Whoever may speak may repeat itself; a life that is over may not."""
    links = make_links("n1")
    items = (CODEC.encode_message(Say(1)),)
    frame = CODEC.encode(Packet(VERSION, "n2", 5, "n1", 1, 7, 1, 0, 0, 0, 9, items))
    assert len(links.receive(frame, "way", 1.0).deliveries) == 1
    assert links.receive(frame, "way", 1.1).deliveries == []
    assert links.counters.duplicates == 1
    anew = CODEC.encode(Packet(VERSION, "n2", 6, "n1", 1, 8, 1, 0, 0, 0, 9, items))
    assert len(links.receive(anew, "way", 1.2).deliveries) == 1
    assert links.receive(frame, "way", 1.3).deliveries == []
    assert links.counters.drops["stale"] == 1


def test_who_is_not_vouched_for_changes_nothing() -> None:
    links = Links("n1", 1, CODEC, HybridClock(lambda: 1.0), vouches=lambda node, key: (node, key) == ("n2", "k2"))
    items = (CODEC.encode_message(Say(1)),)
    frame = CODEC.encode(Packet(VERSION, "n2", 5, "n1", 1, 7, 1, 0, 0, 0, 9, items))
    for key in ("k3", None):
        with pytest.raises(PeerError, match="calls itself n2, which is not its key's name"):
            links.receive(frame, "way", 1.0, key)
    assert links.knows("n2") is None
    assert len(links.receive(frame, "way", 1.0, "k2").deliveries) == 1


async def recorded(agent: Peer, friend: Peer) -> list[bytes]:
    """What a friend's TCP connection says to an agent, byte for byte, as somebody on the way sees it."""
    loop = asyncio.get_running_loop()
    seen: list[bytes] = []
    host, port = agent.endpoint.address.removeprefix("tcp://").split(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: list[bytes] | None) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if keep is not None:
                    keep.append(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, onward[1], seen), pump(onward[0], writer, None))

    between = await asyncio.start_server(carry, "127.0.0.1", 0)
    where = between.sockets[0].getsockname()
    friend.endpoint.connect("n1", 1, f"tcp://127.0.0.1:{where[1]}", "")
    friend.endpoint.send("n1", Say(1, "once, and in secret"))
    await agent.until(lambda: agent.heard)
    friend.endpoint.disconnect("n1")
    between.close()
    assert loop.is_running()
    return seen


async def test_a_recorded_connection_cannot_be_played_again(join: Join, rings: Callable[..., Ring]) -> None:
    n1, n2 = together(rings, "n1", "n2")
    agent, friend = join(n1, "n1"), join(n2, "n2")
    seen = await recorded(agent, friend)
    assert agent.heard == [("n2", Say(1, "once, and in secret"))]
    assert b"in secret" not in b"".join(seen)
    host, port = agent.endpoint.address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as again:
        again.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            for chunk in seen:
                await loop.sock_sendall(again, chunk)
            while await asyncio.wait_for(loop.sock_recv(again, 65536), WAIT_S):
                pass  # until the agent hangs up, which it does when the handshake is none
    assert len(agent.heard) == 1


# --- what it leaves behind -------------------------------------------------------------------------------------------


async def test_ears_are_closed_with_their_peers(join: Join, rings: Callable[..., Ring]) -> None:
    n1, n2, n3 = together(rings, "n1", "n2", "n3")
    agent = join(n1, "n1")
    before = len(os.listdir("/proc/self/fd"))
    others = [Peer(n2, "n2"), Peer(n3, "n3")]
    await meet(agent, *others)
    for other in others:
        agent.endpoint.disconnect(other.links.node)
        other.endpoint.close()
    await agent.until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_libzmq_can_do_it() -> None:
    assert zmq.has("curve")
