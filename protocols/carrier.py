"""Fetches, lends and keeps blobs: part by part, from whoever has them, for whoever here needs them.

Whoever needs a blob asks for its parts; whoever has it answers each question and remembers nothing. Files are the
shell's: it is told to read and to write, and says how that went.

    asker                                     holder
      | AskPart(blob, offset) --------------->  |  ReadPart: the shell reads; PartRead
      | <-- BlobPart(blob, offset, data) | NoBlob
      |  WritePart: the shell writes; PartWritten, and after the last one it has hashed the whole
      | DoubtBlob(blob) --------------------->  |  only if the hash is wrong: CheckBlob, and it is lent no more

    client                                    agent
      | OfferBlobs(task, blobs) ------------->  |  asks the client for those that it does not have
      | <-- BlobsTaken(task) | BlobsRefused(error)

The roles of this node say Gather(key, blobs, sources), are told Gathered(key, error) when all of them are here, and say
Release(key) when they need them no longer: until then they are kept.

Invariants: to one holder no more than WINDOW_MAX parts are asked for and not yet written, fewer if they come slowly, so
that pings and renewals do not wait behind them; only a part that was asked for is written, in order, once; a fetch that
nobody wants any more, or that nobody can feed, ends.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence

from .blobs import (
    PART_BYTES,
    AskPart,
    BlobPart,
    BlobsRefused,
    BlobsTaken,
    CheckBlob,
    DoubtBlob,
    DropParts,
    Gather,
    Gathered,
    Key,
    NoBlob,
    OfferBlobs,
    PartRead,
    PartWritten,
    ReadPart,
    Release,
    WritePart,
)
from .core import Effect, Message, NodeId, PeerDown, PeerError, ProtocolError, Reference, References, Send, TaskId

WINDOW_MAX = 8
"""Parts that are asked of one holder and not written yet."""
QUICK_S = 0.05
SLOW_S = 0.25
"""A part that comes so quickly lets the window grow by one, one that comes so slowly lets it shrink."""
FETCHES_MAX = 16
"""So many blobs are on their way at once; the others wait in the order in which they were wanted."""
WINDOWS_KEPT_MAX = 256
READS_MAX = 8
"""So many parts are read for others at once."""
ASKED_MAX = 2 * WINDOW_MAX
"""So many questions of one asker are kept; more are dropped, and asked again."""
STALL_S = 5.0
STALLS_MAX = 4
"""A holder that says nothing for STALL_S is asked again, and given up after so many times."""
OFFERS_MAX = 10_000
"""Offers that are kept: what a client has brought and not yet handed a task in for."""
OFFER_KEPT_S = 60.0
LOOK_EVERY_S = 1.0
LATE_MAX = 256
"""So many fetches that have ended are remembered: parts that come late for them are no nonsense."""

OFFER = "offer"
"""The first word of the key of what a client has brought."""


class _Want:
    """What one key needs, and what of it is not here yet."""

    def __init__(self) -> None:
        self.blobs: dict[Reference, None] = {}
        self.missing: set[Reference] = set()
        self.until: float | None = None  # of an offer: when it is given up if no task comes


class _Fetch:
    """One blob on its way here."""

    __slots__ = (
        "arrived", "asked", "asked_at", "began", "blob", "heard_at", "keys", "mixed", "sources", "stalls", "written",
    )  # fmt: skip

    def __init__(self, blob: Reference, now: float) -> None:
        self.blob = blob
        self.keys: dict[Key, None] = {}
        self.sources: list[NodeId] = []  # the first is asked
        self.mixed = False  # parts of several holders
        self.heard_at = now
        self.stalls = 0
        self.restart()

    def restart(self) -> None:
        self.written = self.arrived = self.asked = 0
        self.began = 0.0  # when the first part was asked for
        self.asked_at: deque[float] = deque()  # of what has not arrived

    def hang_up(self, now: float) -> None:
        """What is asked and has not come is not waited for."""
        self.asked = self.arrived
        self.asked_at.clear()
        self.heard_at = now

    @property
    def open(self) -> int:
        """Parts asked and not yet written."""
        return -(-self.asked // PART_BYTES) - self.written // PART_BYTES


class Carrier:
    """Fetches, lends and keeps blobs. `holds`: does the whole blob lie here? `carried` hears how many bytes have come
    from whom, in how many seconds."""

    def __init__(
        self,
        node: NodeId,
        holds: Callable[[Reference], bool],
        carried: Callable[[NodeId, int, float], None] = lambda node, size, seconds: None,
    ) -> None:
        self._node = node
        self.holds = holds
        self._carried = carried
        self._wants: dict[Key, _Want] = {}
        self._pins: Counter[Reference] = Counter()
        self._fetches: dict[Reference, _Fetch] = {}
        self._line: deque[_Fetch] = deque()  # those that wait for their turn, in the order in which they were wanted
        self._begun: dict[Reference, _Fetch] = {}
        self._windows: OrderedDict[NodeId, int] = OrderedDict()  # by holder
        self._late: OrderedDict[Reference, None] = OrderedDict()
        self._offers = 0
        self._asks: deque[tuple[NodeId, Reference, int]] = deque()
        self._asked: Counter[NodeId] = Counter()
        self._reading = 0
        self._look_at: float | None = None

    def pinned(self, blob: Reference) -> bool:
        """Somebody here needs it."""
        return blob in self._pins

    def keep(self, key: Key, blobs: Sequence[Reference]) -> None:
        """These, which are here, are needed until `release`; said again of the same key it adds to them."""
        want = self._wants.setdefault(key, _Want())
        for blob in blobs:
            if blob not in want.blobs:
                want.blobs[blob] = None
                self._pins[blob] += 1

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case AskPart(blob, offset):
                return self._ask(blob, offset, sender)
            case PartRead(to, blob, offset, data):
                return self._read(to, blob, offset, data)
            case BlobPart(blob, offset, data):
                return self._part(blob, offset, data, sender, now)
            case PartWritten():
                return self._written(message, now)
            case NoBlob(blob):
                fetch = self._fetches.get(blob)
                if fetch is None or sender not in fetch.sources:
                    return ()
                return [*self._without(fetch, sender, f"{sender} does not have it any more", now), *self._ask_on(now)]
            case DoubtBlob(blob):
                return [CheckBlob(blob)] if self.holds(blob) else ()
            case OfferBlobs(task, blobs):
                return self._offered(task, blobs, sender, now)
            case Gather(key, blobs, sources):
                return self._gather(key, blobs, sources, now)
            case Release(key):
                return [*self.release(key), *self._ask_on(now)]
            case PeerDown(node):
                return self._peer_down(node, now)
        raise ProtocolError(f"a carrier is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return self._look_at

    def wake(self, now: float) -> Sequence[Effect]:
        """Look who has said nothing for too long, and which offers came to nothing."""
        if self._look_at is None or now < self._look_at:
            return ()
        effects: list[Effect] = []
        for fetch in list(self._begun.values()):
            if fetch.asked > fetch.arrived and now - fetch.heard_at >= STALL_S * (1 + fetch.stalls):
                effects += self._stalled(fetch, now)
        if self._offers:
            gone = [key for key, want in self._wants.items() if want.until is not None and want.until <= now]
            for key in gone:
                effects += self.release(key)
        effects += self._ask_on(now)
        self._look_at = now + LOOK_EVERY_S if self._fetches or self._offers else None
        return effects

    # -- wanting

    def _gather(self, key: Key, blobs: Sequence[Reference], sources: Sequence[NodeId], now: float) -> list[Effect]:
        self.keep(key, blobs)
        want = self._wants[key]
        for blob in blobs:
            if not self.holds(blob):
                if not sources and blob not in self._fetches:
                    return self._fail(key, "a large value that it needs is not here any more: hand it in again")
                want.missing.add(blob)
                self._want(blob, key, sources, now)
        if not want.missing:
            return self._complete(key, now)
        self._look_soon(now)
        return self._ask_on(now)

    def _want(self, blob: Reference, key: Key, sources: Sequence[NodeId], now: float) -> None:
        fetch = self._fetches.get(blob)
        if fetch is None:
            fetch = self._fetches[blob] = _Fetch(blob, now)
            self._line.append(fetch)
            self._late.pop(blob, None)
        fetch.keys[key] = None
        fetch.sources += [source for source in sources if source not in fetch.sources]

    def _look_soon(self, now: float) -> None:
        if self._look_at is None:
            self._look_at = now + LOOK_EVERY_S

    def _complete(self, key: Key, now: float) -> list[Effect]:
        """All it wants is here."""
        if key[0] == OFFER:
            self._wants[key].until = now + OFFER_KEPT_S
            return [Send(key[1], BlobsTaken(key[2]))]
        return [Send(self._node, Gathered(key))]

    def _fail(self, key: Key, error: str) -> list[Effect]:
        effects = self.release(key)
        if key[0] == OFFER:
            return [*effects, Send(key[1], BlobsRefused(key[2], error))]
        return [*effects, Send(self._node, Gathered(key, error))]

    def _fail_all(self, fetch: _Fetch, error: str) -> list[Effect]:
        return [effect for key in list(fetch.keys) for effect in self._fail(key, error)]

    def release(self, key: Key) -> list[Effect]:
        """They are needed no longer. What was never kept is no error."""
        want = self._wants.pop(key, None)
        if want is None:
            return []
        self._offers -= want.until is not None
        effects: list[Effect] = []
        for blob in want.blobs:
            self._pins[blob] -= 1
            if not self._pins[blob]:
                del self._pins[blob]
            fetch = self._fetches.get(blob)
            if fetch is None or key not in fetch.keys:
                continue
            del fetch.keys[key]
            if not fetch.keys:
                self._end(fetch)
                if fetch.arrived:
                    effects.append(DropParts(blob))
        return effects

    def _end(self, fetch: _Fetch) -> None:
        """It is here, or nobody waits for it any more."""
        del self._fetches[fetch.blob]
        if self._begun.pop(fetch.blob, None) is None:
            self._line.remove(fetch)
        self._late[fetch.blob] = None
        if len(self._late) > LATE_MAX:
            self._late.popitem(last=False)

    def _offered(self, task: TaskId, blobs: References, client: NodeId, now: float) -> list[Effect]:
        key = (OFFER, client, task)
        former = self._wants.get(key)
        if former is not None:
            return [] if former.missing else self._complete(key, now)
        if self._offers >= OFFERS_MAX:
            return [Send(client, BlobsRefused(task, "this agent is offered too many large values at once"))]
        self._wants[key] = want = _Want()
        want.until = math.inf
        self._offers += 1
        self._look_soon(now)
        return self._gather(key, blobs, (client,), now)

    # -- fetching

    def _ask_on(self, now: float) -> list[Effect]:
        """As many parts as may be asked for: the blob that was wanted first goes first."""
        effects: list[Effect] = []
        while self._line and len(self._begun) < FETCHES_MAX:
            fetch = self._line.popleft()
            self._begun[fetch.blob] = fetch
            if not fetch.blob.size:
                effects.append(WritePart(fetch.blob, 0, b""))  # there is nothing to ask for
        if not self._begun:
            return effects
        open_at: Counter[NodeId] = Counter()
        for fetch in self._begun.values():
            open_at[fetch.sources[0]] += fetch.open
        for fetch in self._begun.values():
            source, blob = fetch.sources[0], fetch.blob
            if fetch.asked == fetch.arrived:
                fetch.heard_at = now
            while fetch.asked < blob.size and open_at[source] < self._windows.setdefault(source, 2):
                effects.append(Send(source, AskPart(blob, fetch.asked)))
                fetch.began = fetch.began or now
                fetch.asked = min(fetch.asked + PART_BYTES, blob.size)
                fetch.asked_at.append(now)
                open_at[source] += 1
        return effects

    def _part(self, blob: Reference, offset: int, data: bytes, sender: NodeId, now: float) -> Sequence[Effect]:
        fetch = self._fetches.get(blob)
        if fetch is None and blob in self._late:
            return ()
        if fetch is None or sender not in fetch.sources or offset >= fetch.asked:
            raise PeerError(f"{sender} sent a part of a blob that nobody here has asked it for")
        if sender != fetch.sources[0] or offset != fetch.arrived:
            return ()  # it was asked twice
        if len(data) != min(PART_BYTES, blob.size - offset):
            effects = self._without(fetch, sender, f"{sender} sends parts of the wrong size", now)
            return [*effects, *self._ask_on(now)]
        self._pace(sender, now - fetch.asked_at.popleft())
        fetch.arrived += len(data)
        fetch.heard_at = now
        fetch.stalls = 0
        return [WritePart(blob, offset, data)]

    def _pace(self, holder: NodeId, took_s: float) -> None:
        """A part of its has come after so long."""
        window = self._windows.pop(holder, 2)
        if took_s < QUICK_S:
            window = min(window + 1, WINDOW_MAX)
        elif took_s > SLOW_S:
            window = max(window - 1, 1)
        self._windows[holder] = window
        if len(self._windows) > WINDOWS_KEPT_MAX:
            self._windows.popitem(last=False)

    def _written(self, message: PartWritten, now: float) -> Sequence[Effect]:
        blob = message.blob
        fetch = self._begun.get(blob)
        if fetch is None or message.end > fetch.arrived:
            return ()  # of a fetch that was given up
        if message.error:
            fetch.arrived = 0  # nothing is left of it
            return [*self._fail_all(fetch, message.error), *self._ask_on(now)]
        if message.spoilt:
            return [*self._spoilt(fetch, now), *self._ask_on(now)]
        fetch.written = max(fetch.written, message.end)
        if fetch.written < blob.size:
            return self._ask_on(now)
        self._end(fetch)
        if not fetch.mixed:
            self._carried(fetch.sources[0], blob.size, now - fetch.began)
        effects: list[Effect] = []
        for key in fetch.keys:
            want = self._wants[key]
            want.missing.discard(blob)
            if not want.missing:
                effects += self._complete(key, now)
        return [*effects, *self._ask_on(now)]

    def _spoilt(self, fetch: _Fetch, now: float) -> list[Effect]:
        """Whoever alone has sent it is asked no more; where it may have been several, it begins anew with one."""
        mixed, source = fetch.mixed, fetch.sources[0]
        fetch.restart()
        fetch.mixed = False
        if mixed:
            return []
        if not fetch.blob.size:
            return self._fail_all(fetch, "a large value has a name that nothing can have")
        gone = self._without(fetch, source, f"what {source} sent is not what its name says", now)
        return [Send(source, DoubtBlob(fetch.blob)), *gone]

    def _stalled(self, fetch: _Fetch, now: float) -> list[Effect]:
        """It is asked again; in the end, somebody else is."""
        fetch.stalls += 1
        if fetch.stalls >= STALLS_MAX:
            return self._without(fetch, fetch.sources[0], f"{fetch.sources[0]} sends nothing any more", now)
        fetch.hang_up(now)
        return []

    def _without(self, fetch: _Fetch, source: NodeId, error: str, now: float) -> list[Effect]:
        """This holder is asked no more: the next goes on where it stopped, if there is one."""
        if source == fetch.sources[0]:
            fetch.hang_up(now)
            fetch.mixed = fetch.mixed or fetch.arrived > 0
            fetch.stalls = 0
        if len(fetch.sources) > 1:
            fetch.sources.remove(source)
            return []
        return self._fail_all(fetch, f"a large value that it needs cannot be had: {error}")

    def _peer_down(self, node: NodeId, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for fetch in list(self._fetches.values()):
            if node in fetch.sources and fetch.blob in self._fetches:
                effects += self._without(fetch, node, f"{node} is gone", now)
        self._windows.pop(node, None)
        return [*effects, *self._ask_on(now)]

    # -- lending

    def _ask(self, blob: Reference, offset: int, sender: NodeId) -> Sequence[Effect]:
        if offset % PART_BYTES or offset >= blob.size:
            raise PeerError(f"{sender} asks for byte {offset} of a blob of {blob.size}")
        if not self.holds(blob):
            return [Send(sender, NoBlob(blob))]
        if self._asked[sender] >= ASKED_MAX:
            return ()
        self._asked[sender] += 1
        self._asks.append((sender, blob, offset))
        return self._read_next()

    def _read_next(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._asks and self._reading < READS_MAX:
            to, blob, offset = self._asks.popleft()
            self._reading += 1
            effects.append(ReadPart(blob, offset, to))
        return effects

    def _read(self, to: NodeId, blob: Reference, offset: int, data: bytes | None) -> list[Effect]:
        self._reading -= 1
        self._asked[to] -= 1
        if not self._asked[to]:
            del self._asked[to]
        said = NoBlob(blob) if data is None else BlobPart(blob, offset, data)
        return [Send(to, said), *self._read_next()]


LISTENS: tuple[type[Message], ...] = (
    AskPart,
    BlobPart,
    NoBlob,
    DoubtBlob,
    OfferBlobs,
    Gather,
    Release,
    PartRead,
    PartWritten,
    PeerDown,
)
"""What a carrier is told; `Gathered` is told to the roles, BlobsTaken and BlobsRefused to clients."""
