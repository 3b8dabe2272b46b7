"""What members say to each other, and what is said of them: the vocabulary of `membership.py`.

Source: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol",
DSN 2002 (ping, ack, ping-req, suspicion, incarnation), with the nack of Dadgar, Phillips, Currey, "Lifeguard: Local
Health Awareness for More Accurate Failure Detection", DSN 2018.

    Join -> Members            a newcomer asks any agent for the others
    Hello                      and says to each that it is there
    Ping -> Ack                are you there?
    PingReq -> Ack or Nack     ask it for me
    Gossip                     rumours at once; a few also travel with every message above
    Compare -> Digest -> Delta -> Delta    what rumours have missed
    Report, Leave              published: what a node tells of itself; that it goes

A node's life is numbered by `Contact.incarnation`, which is the time of its start and names the life to the links too.
Within a life it counts how often it has `refuted` what was said of it. Both together are SWIM's incarnation number: the
pair is compared as one, only its own node raises it, and so it only rises.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from .core import Address, Amounts, Count, Event, Local, Message, NodeId, Seconds, Speed, Tag
from .load import SLOTS_MAX

MEMBERS_MAX = 4_096
TAGS_TOLD_MAX = 64
ESTIMATES_TOLD_MAX = 16
"""Of the kinds observed last."""
RUMOURS_MAX = 8
"""In one message."""


class Presence(enum.StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


LIVING = frozenset({Presence.ALIVE, Presence.SUSPECT})
_RANK = {presence: rank for rank, presence in enumerate(Presence)}

Standing: TypeAlias = tuple[int, int, int]
"""Life, refutations, rank of the presence. Of two, the greater holds, so it does not matter which is heard first."""


def standing_of(life: int, refuted: int, state: Presence) -> Standing:
    return life, refuted, _RANK[state]


class Contact(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a node can be reached, and what it declares of itself."""

    node: NodeId
    incarnation: Count
    address: Address
    announcements: Address
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)] = 1
    speed: Speed = 1.0
    holder: Annotated[str, Meta(max_length=64)] = ""
    """Its name as a holder of tasks (`holders.py`); empty: it holds none."""


class Estimate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a node has learnt of a kind: after so many `observations` it takes `factor` times its nominal seconds.

    `kind` may be finer than a task's kind: "command python train.py" is what such tasks are like.
    """

    kind: Annotated[str, Meta(min_length=1, max_length=256)]
    observations: Count
    factor: Annotated[float, Meta(gt=0.0, le=1e15)]
    seconds: Seconds  # the last one that was observed


class Status(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a node tells of itself: what it is and has, how busy it is, what it has learnt, how late its loop runs."""

    tags: Annotated[tuple[Tag, ...], Meta(max_length=TAGS_TOLD_MAX)] = ()
    amounts: Amounts = ()
    running: Count = 0
    waiting: Count = 0
    queued_s: Seconds = 0.0
    draining: bool = False
    estimates: Annotated[tuple[Estimate, ...], Meta(max_length=ESTIMATES_TOLD_MAX)] = ()
    lag_s: Seconds = 0.0


NO_STATUS = Status()


# --- of somebody -----------------------------------------------------------------------------------------------------


class Rumour(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is said of a member. `by`: who suspects it, or has given it up; None: hearsay, or the member itself."""

    contact: Contact
    refuted: Count
    state: Presence
    by: NodeId | None = None

    @property
    def standing(self) -> Standing:
        return standing_of(self.contact.incarnation, self.refuted, self.state)


Rumours: TypeAlias = Annotated[tuple[Rumour, ...], Meta(max_length=RUMOURS_MAX)]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How recent what the sender knows of a member is; `version` counts what the member has told of itself."""

    node: NodeId
    incarnation: Count
    refuted: Count
    state: Presence
    version: Count

    @property
    def standing(self) -> Standing:
        return standing_of(self.incarnation, self.refuted, self.state)

    @property
    def told(self) -> tuple[int, int]:
        return self.incarnation, self.version


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that the sender knows of one."""

    rumour: Rumour
    version: Count
    status: Status


# --- to each other ---------------------------------------------------------------------------------------------------


class Join(Message, frozen=True, array_like=True):
    """Here I am; whom do you know?"""

    contact: Contact


class Members(Message, frozen=True, array_like=True):
    """The living as the sender sees them, itself included."""

    contacts: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=MEMBERS_MAX)]


class Hello(Message, frozen=True, array_like=True):
    """Here I am: said to each whom one learns of."""

    contact: Contact


class Ping(Message, frozen=True, array_like=True):
    """Are you there? If the sender doubts it, its doubt is the first of the rumours."""

    number: Count
    rumours: Rumours = ()


class Ack(Message, frozen=True, array_like=True):
    """I am; or, from one who was asked to ping: it is."""

    number: Count
    rumours: Rumours = ()


class PingReq(Message, frozen=True, array_like=True):
    """Ping this node for me; if it does not answer, tell me so within `patience_s`."""

    number: Count
    node: NodeId
    patience_s: Seconds
    rumours: Rumours = ()


class Nack(Message, frozen=True, array_like=True):
    """I have heard you, and it has not answered me."""

    number: Count
    rumours: Rumours = ()


class Gossip(Message, frozen=True, array_like=True):
    """Rumours by themselves, while they are new."""

    rumours: Annotated[tuple[Rumour, ...], Meta(min_length=1, max_length=RUMOURS_MAX)]


class Compare(Message, frozen=True, array_like=True):
    """Is your view mine? `digest` is the CRC-32 of the entries of all who live."""

    digest: Count


class Digest(Message, frozen=True, array_like=True):
    """It is not: this is how recent mine is, of all who live."""

    entries: Annotated[tuple[Entry, ...], Meta(max_length=MEMBERS_MAX)]


class Delta(Message, frozen=True, array_like=True):
    """What you have not heard yet; and of whom I would like to hear more."""

    members: Annotated[tuple[Member, ...], Meta(max_length=MEMBERS_MAX)]
    wanted: Annotated[tuple[NodeId, ...], Meta(max_length=MEMBERS_MAX)] = ()


class Report(Message, frozen=True, array_like=True):
    """Published when it changes, at most once a second, and when somebody new listens. What is lost of it shows in
    pings, and when views are compared."""

    version: Count
    status: Status


class Leave(Message, frozen=True, array_like=True):
    """Published by one who goes in peace."""

    refuted: Count = 0


MESSAGES: tuple[type[Message], ...] = (
    Join,
    Members,
    Hello,
    Ping,
    Ack,
    PingReq,
    Nack,
    Gossip,
    Compare,
    Digest,
    Delta,
    Report,
    Leave,
)


# --- on this node ----------------------------------------------------------------------------------------------------


class Subscribed(Local, frozen=True, array_like=True):
    """From now on this peer hears what we publish."""

    node: NodeId


class Disconnected(Local, frozen=True, array_like=True):
    """The connection to this peer has dropped."""

    node: NodeId


class Lag(Local, frozen=True, array_like=True):
    """The loop of this node came so much later to a timer than it should."""

    seconds: Seconds


class PeerState(Event, frozen=True, kw_only=True):
    """What this node now thinks of a peer."""

    name: ClassVar[str] = "peer.state"
    peer: NodeId
    state: Presence
    address: str
    reason: str


EVENTS: tuple[type[Event], ...] = (PeerState,)
