"""The vocabulary every protocol speaks: tasks, messages, effects, and the one shape.

A protocol is an object that is *told*: a message has come (`receive`), or its time has come (`wake`). It answers with
effects, to be performed in order, and it names the one moment at which it wants to be woken. It owns no clock, no
socket and no global randomness, so a unit test, the simulator and a real node all drive the same object.

    shell                          protocol
      | receive(message, sender, now) |
      |------------------------------>|
      |<---------- [Send, Publish, Event, ...]
      | deadline -> 12.5              |
      | wake(12.5)                    |
      |------------------------------>|

Invariants: the same calls give the same effects, byte for byte; ties break by node id; every input is bounded.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

# --- bounded scalars: what a field of a message may hold -------------------------------------------------------------

NodeId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
TaskId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
AuctionId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=96)]
Kind: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Address: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e9)]
Speed: TypeAlias = Annotated[float, Meta(gt=0.0, le=1e6)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]

PAYLOAD_BYTES_MAX = 4 * 1024 * 1024
"""Largest argument or result that travels inside a message."""

Payload: TypeAlias = Annotated[bytes, Meta(max_length=PAYLOAD_BYTES_MAX)]
BLOB_BYTES_MAX = 2**40
BLOBS_MAX = 64
"""How many blobs one argument, or one result, may refer to."""
BlobBytes: TypeAlias = Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX)]
BlobHint: TypeAlias = tuple[Annotated[bytes, Meta(min_length=8, max_length=8)], BlobBytes]
"""What everybody may know of a blob: how its hash begins, and its size. Enough to say whether one has it, and not
enough to ask for it."""
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
"""What a node is or has, without a quantity: "gpu", "site=lab"."""
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Amount: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e18)]
"""How much of something, in base units: bytes, cores, pieces."""
Amounts: TypeAlias = Annotated[tuple[tuple[Name, Amount], ...], Meta(max_length=16)]


class ProtocolError(Exception):
    """We misused ourselves: a bug. Nothing catches it."""


class PeerError(Exception):
    """Another node sent nonsense: logged, counted, dropped."""


class Reference(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A blob: bytes too large for a message, by their SHA-256 and their size. Whoever knows it may ask for them."""

    hash: Annotated[bytes, Meta(min_length=32, max_length=32)]
    size: BlobBytes

    @property
    def hint(self) -> BlobHint:
        return self.hash[:8], self.size


References: TypeAlias = Annotated[tuple[Reference, ...], Meta(max_length=BLOBS_MAX)]


# --- what is negotiated ----------------------------------------------------------------------------------------------


GANG_MAX = 256
"""So many members a gang has at most."""
GANG_ID_MAX = 60
"""So many characters the id of a gang has at most: those of its members are a few longer."""


class Dividing(enum.StrEnum):
    """How it is decided who gets which of many tasks that wait together (`batches.py`)."""

    AUTO = "auto"  # by a session where that is worth it, else by the contract net
    CALLS = "contract-net"
    PRICES = "prices"  # by a session, wherever there are two tasks and two nodes


class Conditions(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """On which terms a task may be done; FIPA's "conditions".

    `needs`: tags that its node must have, all of them; `amounts`: how much of what it takes while it runs (one slot, if
    it does not say more of SLOTS: all of them of one node, at once); `only`: it may go only where one of these tags is;
    `prefers`: where this tag is not, it counts as so many seconds later. `deadline_s`: seconds that are left for it.
    Higher `priority` goes first, then the higher `reward`, which is the reserve price where its initiator's award rule
    pays. `about` is what bidders may know of it beyond that.
    `at_most_once`: never started a second time, so that its end may remain unknown. `dividing`: from others that wait;
    AUTO: as its desk does. `gang`: so many members, each of which takes what is said here, run at once, on whatever
    nodes (0: it is one task).
    """

    needs: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()
    amounts: Amounts = ()
    only: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()
    deadline_s: Seconds | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    reward: Annotated[float, Meta(ge=0.0, le=1e18)] = 0.0
    about: Annotated[
        tuple[tuple[Name, Annotated[float, Meta(ge=-1e18, le=1e18)] | Annotated[str, Meta(max_length=256)]], ...],
        Meta(max_length=16),
    ] = ()
    at_most_once: bool = False
    dividing: Dividing = Dividing.AUTO
    prefers: Annotated[tuple[tuple[Tag, Seconds], ...], Meta(max_length=8)] = ()
    gang: Annotated[int, Meta(ge=0, le=GANG_MAX)] = 0


NO_CONDITIONS = Conditions()
SLOTS = "slots"
"""The amount that every node has of, and every task takes of."""
ONE_SLOT = ((SLOTS, 1.0),)


class Task(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What everybody may know of a task; its payload goes to the winner only.

    `work` is the nominal run time in seconds on a node of speed 1 (None: not known, the estimators must learn it);
    `timeout_s` limits one attempt; `attempts_max` limits how often a died or hung attempt is offered again.
    Replicas of one task are `id/1`, `id/2`, ...: each runs on another node. `blobs`: what it needs beside its payload.
    """

    id: TaskId
    kind: Kind
    work: Seconds | None = None
    payload_bytes: Annotated[int, Meta(ge=0, le=PAYLOAD_BYTES_MAX)] = 0
    timeout_s: Seconds = 3600.0
    attempts_max: Annotated[int, Meta(ge=1, le=100)] = 3
    terms: Conditions | None = None
    blobs: Annotated[tuple[BlobHint, ...], Meta(max_length=BLOBS_MAX)] = ()

    @property
    def conditions(self) -> Conditions:
        """Its terms, or none."""
        return self.terms if self.terms is not None else NO_CONDITIONS

    @property
    def takes(self) -> Amounts:
        """What it takes of its node while it runs, its slots among it."""
        amounts = self.conditions.amounts
        if not amounts:
            return ONE_SLOT
        if any(name == SLOTS for name, _ in amounts):  # none takes less than one, whatever is said
            return tuple([(name, float(self.slots) if name == SLOTS else amount) for name, amount in amounts])
        return (*ONE_SLOT, *amounts)

    @property
    def slots(self) -> int:
        """How many of its node it holds at once."""
        return max(round(dict(self.conditions.amounts).get(SLOTS, 1.0)), 1)

    @property
    def gang(self) -> int:
        """So many members run at once; 0: it is one task."""
        return self.terms.gang if self.terms is not None else 0

    def member(self, rank: int) -> Task:
        """What the member of this rank runs."""
        assert self.terms is not None
        terms = msgspec.structs.replace(self.terms, gang=0)
        return msgspec.structs.replace(self, id=f"{self.id}~{rank}", terms=terms)

    @property
    def origin(self) -> TaskId:
        """What its replicas have in common: the id without the number of the replica."""
        return self.id.partition("/")[0]


class State(enum.StrEnum):
    """Where a task stands, as people see it."""

    HELD = "held"  # waits for the tasks that it comes after
    OPEN = "open"  # called, or waiting for a node
    AWARDED = "awarded"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNPLACED = "unplaced"
    UNKNOWN = "unknown"  # it may have been done, and was to be done at most once


ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.UNPLACED, State.UNKNOWN})


class Outcome(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The one committed end of a task.

    `value` is the encoded result (of a task that failed, what it left: a command's exit code); `error` is one sentence
    (empty if done) and `reason` its word from the closed list of `performatives`; `seconds` is the time the deciding
    attempt held a slot, `epoch` its number. `blobs` are what the value refers to.
    """

    task: TaskId
    state: State
    value: Payload = b""
    error: Text = ""
    node: NodeId | None = None
    epoch: Count = 0
    attempts: Count = 0
    seconds: Seconds = 0.0
    reason: Annotated[str, Meta(max_length=32)] = ""
    blobs: References = ()


# --- messages --------------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What one agent says to others. Declared, with bounded fields, in the file of the protocol that speaks it."""


class Local(Message, frozen=True, array_like=True):
    """What happens on this node itself. Its sender is the node; it is refused from the wire."""


class PeerUp(Local, frozen=True, array_like=True):
    """This peer lives and hears what we publish: it may be invited."""

    node: NodeId


class PeerDown(Local, frozen=True, array_like=True):
    """This peer is gone, or has been silent for so long that we count it as gone."""

    node: NodeId


# --- effects ---------------------------------------------------------------------------------------------------------


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What a protocol wants done. Performed in order by the shell around it."""


class Send(Effect, frozen=True):
    """To one agent (or client): delivered once and in order while both live."""

    to: NodeId
    message: Message


class Datagram(Effect, frozen=True):
    """To one agent, at once and once at most: what is lost is not repeated, for it will soon be said anew."""

    to: NodeId
    message: Message


class Publish(Effect, frozen=True):
    """To all who listen, this node included: a hint that may be missed."""

    message: Message


class Record(Effect, frozen=True):
    """Durable before anything that stands on it leaves this node (`gate.py`): what is recorded under the same type and
    `key` before is replaced, or, with `entry` None, erased."""

    kind: type[msgspec.Struct]
    key: str
    entry: msgspec.Struct | None


class Seat(msgspec.Struct, frozen=True, gc=False):
    """Who a member of a gang is: its rank among the `nodes`, one per member; the first of them leads."""

    gang: TaskId
    rank: int
    nodes: tuple[NodeId, ...]


class Run(Effect, frozen=True):
    """Start the attempt `epoch` of a task on this node; it ends in one local `Finished`.

    `follow`: somebody reads its output as it comes. `seat`: it is a member of a gang.
    """

    task: Task
    epoch: int
    payload: bytes
    follow: bool = False
    seat: Seat | None = None


class Resume(Effect, frozen=True):
    """So many bytes of an attempt's output were read: more may be told."""

    task: TaskId
    epoch: int
    size: int


class Stop(Effect, frozen=True):
    """Give up an attempt on this node: its slot is free at once, and no `Finished` follows."""

    task: TaskId
    epoch: int


class Connect(Effect, frozen=True):
    """Hold a connection to this peer, both ways of it: requests to `address`, announcements from `announcements`."""

    node: NodeId
    incarnation: int
    address: str
    announcements: str


class Disconnect(Effect, frozen=True):
    """Let go of the connection to a peer that is gone for good."""

    node: NodeId


class Event(Effect, frozen=True, kw_only=True):
    """A line of the log: what the pictures and `why` are made of. `name` is its word in the closed vocabulary."""

    name: ClassVar[str]
    level: ClassVar[str] = "info"


# --- the one shape ---------------------------------------------------------------------------------------------------


class Protocol(typing.Protocol):
    """One role of one agent; an agent is such an object too."""

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        """A message has come from `sender` at the monotonic time `now` (seconds). Raises PeerError on nonsense."""

    def wake(self, now: float) -> Sequence[Effect]:
        """Its deadline has come."""

    @property
    def deadline(self) -> float | None:
        """When it wants to be woken, derived from its state; None: not at all."""
