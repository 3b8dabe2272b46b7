"""The target of the fuzzers: bytes as a peer may send them, given to all that reads bytes of peers.

    python tests/fuzz_decoder.py --seconds 60      `make fuzz`: coverage-guided by atheris where it is installed,
                                                   else by hypothesis

Whatever the bytes are, they are declared messages or one PeerError; every message that comes out of them goes out again
as the same bytes' meaning, and an agent that is told it answers, or says PeerError.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType

import msgspec
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from parley.agents.agent import MESSAGES, Agent
from parley.agents.payload import PayloadError, unpack
from parley.agents.resources import Resources
from parley.protocols.core import Local, Message, PeerError
from parley.protocols.swim_words import Contact
from parley.transport.clock import HybridClock
from parley.transport.codec import VERSION, Bulletin, Codec, Packet
from parley.transport.links import Links
from parley.transport.security import KeysError, entry

CODEC = Codec(MESSAGES)
NAMES = sorted(message.__name__ for message in MESSAGES)
EXAMPLES = 200


class Target:
    """One agent and its links, told what comes until it has lived long enough."""

    TOLD_MAX = 2_000

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        contact = Contact("n1", 1, "tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
        self._agent = Agent(contact, Resources(1, 1.0, 1.0, (), (), {}), 0.0)
        self._links = Links("n1", 1, CODEC, HybridClock(lambda: 1.0))
        self._now = 0.0
        self._told = 0
        hello = CODEC.encode(Packet(VERSION, "n2", 1, "n1", 1, 5, 0, 0, 0, 0, 1, ()))
        self._links.receive(hello, "way", 0.0)

    def frame(self, data: bytes) -> None:
        """As a packet, and as a bulletin."""
        for route in ("way", None):
            try:
                received = self._links.receive(data, route, self._now)
            except PeerError:
                continue
            for sender, message, _ in received.deliveries:
                self._tell(message, sender)

    def item(self, name: str, raw: bytes) -> None:
        """As a message of this type."""
        try:
            message = CODEC.decode_message((name, msgspec.Raw(raw)))
        except PeerError:
            return
        assert type(message).__name__ == name
        again = CODEC.decode_message(CODEC.encode_message(message))
        assert again == message
        self._tell(message, "n2")

    def _tell(self, message: Message, sender: str) -> None:
        assert not isinstance(message, Local)
        self._now += 0.01
        self._told += 1
        if self._told > self.TOLD_MAX:
            self._begin()
        try:
            self._agent.receive(message, sender, self._now)
        except PeerError:
            pass
        else:
            self._agent.wake(self._now)

    def words(self, data: bytes) -> None:
        """As the other things that come from outside: a payload, a key that somebody types."""
        with suppress(PayloadError):
            unpack(data)
        with suppress(KeysError):
            entry(data.decode(errors="replace"))

    def bytes(self, data: bytes) -> None:
        """All of it; the first byte chooses a message's type."""
        self.frame(data)
        self.words(data)
        if data:
            self.item(NAMES[data[0] % len(NAMES)], data[1:])


# --- what is like a message, and is none -----------------------------------------------------------------------------

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=80)
    | st.binary(max_size=80)
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=20))
    | st.sampled_from(["n1", "n2", "done", "kind", "t1", "n2.1.1", "queue", 0, 1, 1.0])
)
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=40,
)
ITEMS = st.tuples(st.sampled_from([*NAMES, "Finished", "PeerUp", "", "Nonsense"]), VALUES)


def raw(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Envelopes around such items, sound or nearly so."""
    items = tuple((name, msgspec.Raw(raw(value))) for name, value in draw(st.lists(ITEMS, max_size=4)))
    number = st.integers(0, 9)
    sender = draw(st.sampled_from(["n1", "n2", "n3"]))
    if draw(st.booleans()):
        return CODEC.encode(Bulletin(VERSION, sender, draw(number), draw(st.integers(1, 9)), draw(number), items))
    stream, seq, heard, ack, published, stamp = [draw(number) for _ in range(6)]
    receiver = draw(st.sampled_from(["n1", "", "n9"]))
    life = 5 + stream
    return CODEC.encode(
        Packet(VERSION, sender, draw(number), receiver, 1, life, seq, heard, ack, published, stamp, items)
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound frame with some bytes changed, or cut."""
    frame = bytearray(draw(frames()))
    for place, value in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)):
        frame[place % len(frame)] = value
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


# --- longer than in the suite ----------------------------------------------------------------------------------------


def examples(strategy: st.SearchStrategy[bytes], number: int, tell: Callable[[bytes], None]) -> None:
    """Some more of these, others for each number."""

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(number)
    @given(strategy)
    def each(data: bytes) -> None:
        tell(data)

    each()


def by_hypothesis(seconds: float) -> int:
    """Rounds of examples until the time is over; how many examples."""
    target, until, number = Target(), time.monotonic() + seconds, 0
    items = st.tuples(st.integers(0, 255), VALUES).map(lambda pair: bytes([pair[0]]) + raw(pair[1]))
    ways = ((frames(), target.frame), (damaged(), target.frame), (st.binary(max_size=300), target.bytes))
    while time.monotonic() < until:
        strategy, tell = (*ways, (items, target.bytes))[number % 4]
        examples(strategy, number, tell)
        number += 1
    return number * EXAMPLES


def functions(module: ModuleType) -> list[FunctionType]:
    """Those that a module defines, in classes too."""
    spaces = [module, *(one for one in vars(module).values() if isinstance(one, type))]
    found = [one for space in spaces for one in vars(space).values() if isinstance(one, FunctionType)]
    return [one for one in found if one.__module__ == module.__name__]


def by_atheris(seconds: float) -> None:
    """Guided by which branches of our own code the bytes reach, from sound frames on; ends the process."""
    import atheris

    for module in [module for name, module in sys.modules.items() if name.startswith("parley.")]:
        for function in functions(module):
            atheris.instrument_func(function)
    target = Target()
    corpus = Path(tempfile.mkdtemp())
    seeds: list[bytes] = []
    examples(frames(), 0, seeds.append)
    for place, frame in enumerate(seeds):
        (corpus / str(place)).write_bytes(frame)
    flags = [f"-max_total_time={int(seconds)}", "-max_len=4096", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.bytes)
    atheris.Fuzz()


def main(seconds: float) -> None:
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(f"{by_hypothesis(seconds):,} examples by hypothesis: messages or PeerError, every one")
    else:
        by_atheris(seconds)


if __name__ == "__main__":
    main(float(sys.argv[2]) if len(sys.argv) == 3 and sys.argv[1] == "--seconds" else 60.0)
