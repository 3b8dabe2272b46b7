"""What holders, openers and winners say to each other, and what each of them writes down first.

Words are small, and there are many: all that one agent has to say to another in one turn goes as one message. `Pledge`
carries words that stand on something recorded, and waits for the disk; `Talk` carries the rest, and does not. Who says
which word when stands in `commitment.py`.

    Talk    Hold, Renewal, Renewed, Watching, Release, Unheld, Settled
    Pledge  Held, Prepare, Promise, Gone, Commit, Vote, Fence, Learn, Learnt, Decided

Invariant: every field is bounded; of what is recorded under one key only the last counts.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from .core import Count, Kind, Local, Message, NodeId, Outcome, Payload, References, Task, TaskId
from .epochs import Epoch

HOLDERS_MAX = 5
WORDS_MAX = 768
"""In one message."""

Holders: TypeAlias = Annotated[tuple[NodeId, ...], Meta(min_length=1, max_length=HOLDERS_MAX)]


def majority(holders: int) -> int:
    return holders // 2 + 1


class Spec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A task as its holders keep it: all that another agent needs to see it through.

    `after`: the tasks it comes after, and what it calls them; `waits`: for somebody who can run it.
    """

    task: Task
    payload: Payload
    holders: Holders
    blobs: References = ()
    label: Annotated[str, Meta(max_length=64)] = ""
    after: Annotated[tuple[tuple[TaskId, Annotated[str, Meta(max_length=64)]], ...], Meta(max_length=256)] = ()
    waits: bool = False

    @property
    def majority(self) -> int:
        return majority(len(self.holders))


class Warrant(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """On which an award stands: its fencing token, who holds the task, how often it has moved and was awarded."""

    epoch: Epoch
    holders: Holders
    move: Count
    attempts: Count


class Moved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A register goes on at these holders, which begin with the promise `floor`."""

    holders: Holders
    floor: Epoch
    started: bool = False


class Choice(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What a register decides: how its task has ended, or where it goes on. One of the two."""

    outcome: Outcome | None = None
    moved: Moved | None = None


class Why(enum.IntEnum):
    """What an epoch is opened for."""

    ORPHAN = 0  # nobody stands by the task any more
    CANCEL = 1  # its end is wanted, whoever works at it
    MOVE = 2  # a holder is dead


# --- words -----------------------------------------------------------------------------------------------------------


class Word(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True, gc=False):
    """About one register: a task, and how often it has moved (`move`)."""


class Hold(Word, frozen=True, array_like=True, tag=True):
    """Keep this; promise this epoch, if you have promised none. `started`: it is to be done at most once, and may have
    been begun before its register came here."""

    spec: Spec
    epoch: Epoch
    move: Count = 0
    started: bool = False


class Held(Word, frozen=True, array_like=True, tag=True):
    """It is on disk here; `promised` is what I stand by."""

    task: TaskId
    move: Count
    promised: Epoch


class Prepare(Word, frozen=True, array_like=True, tag=True):
    """Promise this later epoch, and tell what you have accepted."""

    task: TaskId
    move: Count
    epoch: Epoch
    why: Why


class Promise(Word, frozen=True, array_like=True, tag=True):
    """I vote for nothing earlier. `floor`: the latest epoch promised that was not opened for a move; `accepted`: what I
    have voted for, and in which epoch; `started`: somebody began a task that is to be done at most once."""

    task: TaskId
    move: Count
    epoch: Epoch
    floor: Epoch
    accepted: tuple[Epoch, Choice] | None
    started: bool


class Unheld(Word, frozen=True, array_like=True, tag=True):
    """I know nothing of it: hold it first."""

    task: TaskId
    move: Count


class Gone(Word, frozen=True, array_like=True, tag=True):
    """It was decided, all holders know, and I have forgotten how. I promise nothing."""

    task: TaskId


class Started(Word, frozen=True, array_like=True, tag=True):
    """The winner is about to begin a task that is to be done at most once; voted on like a commit."""

    task: TaskId
    move: Count
    epoch: Epoch


class Commit(Word, frozen=True, array_like=True, tag=True):
    """Vote for this."""

    task: TaskId
    move: Count
    epoch: Epoch
    choice: Choice


class Vote(Word, frozen=True, array_like=True, tag=True):
    """I have accepted what this epoch proposed; `start`: that it has started."""

    task: TaskId
    move: Count
    epoch: Epoch
    start: bool = False


class Fence(Word, frozen=True, array_like=True, tag=True):
    """Your epoch counts no more: I have promised a later one."""

    task: TaskId
    move: Count
    epoch: Epoch
    promised: Epoch


class Learn(Word, frozen=True, array_like=True, tag=True):
    """A majority has voted for it: that is decided."""

    task: TaskId
    move: Count
    choice: Choice


class Keep(Word, frozen=True, array_like=True, tag=True):
    """It has ended so, and you take the place of a dead one among its holders: keep that for whoever asks."""

    task: TaskId
    move: Count
    choice: Choice
    kind: Kind
    label: Annotated[str, Meta(max_length=64)]
    holders: Holders


class Learnt(Word, frozen=True, array_like=True, tag=True):
    task: TaskId
    move: Count


class Settled(Word, frozen=True, array_like=True, tag=True):
    """All holders have voted for what this epoch proposed, and so decided it; or all that live have learnt how it was
    decided (None). Its register may be forgotten."""

    task: TaskId
    move: Count
    epoch: Epoch | None = None


class Decided(Word, frozen=True, array_like=True, tag=True):
    """The answer to whatever is said of a register that is decided."""

    task: TaskId
    move: Count
    choice: Choice


class Renewal(Word, frozen=True, array_like=True, tag=True):
    """The winner works at it still."""

    task: TaskId
    move: Count
    epoch: Epoch


class Renewed(Word, frozen=True, array_like=True, tag=True):
    """Heard: the lease goes on."""

    task: TaskId
    epoch: Epoch


class Release(Word, frozen=True, array_like=True, tag=True):
    """The winner will never commit this epoch: its lease ends now."""

    task: TaskId
    move: Count
    epoch: Epoch


class Watching(Word, frozen=True, array_like=True, tag=True):
    """The owner of epochs stands by all of them that are of this life."""

    incarnation: Count


AnyWord: TypeAlias = (
    Hold | Held | Prepare | Promise | Unheld | Gone | Started | Commit | Vote | Fence | Learn | Keep | Learnt
    | Settled | Decided | Renewal | Renewed | Release | Watching
)  # fmt: skip
Words: TypeAlias = Annotated[tuple[AnyWord, ...], Meta(min_length=1, max_length=WORDS_MAX)]

FREE: frozenset[type[Word]] = frozenset({Hold, Renewal, Renewed, Watching, Unheld, Settled})
"""Words that stand on nothing recorded."""


class Pledge(Message, frozen=True, array_like=True):
    """Words that stand on something recorded: they leave when it is on disk. `of` and `to` are holders, not names: a
    node that has lost its journal is another holder, and hears nothing that was meant for the former."""

    words: Words
    of: NodeId
    to: NodeId


class Talk(Message, frozen=True, array_like=True):
    """Words that no disk keeps waiting."""

    words: Words
    of: NodeId
    to: NodeId


MESSAGES: tuple[type[Message], ...] = (Pledge, Talk)


# --- told on this node -----------------------------------------------------------------------------------------------


class HeldFast(Local, frozen=True, array_like=True):
    """A majority of its holders has this task on disk: its client may know."""

    task: TaskId


class Permitted(Local, frozen=True, array_like=True):
    """A majority has promised this epoch, of this node, and has accepted nothing: the task may be awarded."""

    spec: Spec
    epoch: Epoch
    move: Count


class Chosen(Local, frozen=True, array_like=True):
    """The task has ended so, for good; None: so long ago that nobody remembers how."""

    task: TaskId
    outcome: Outcome | None


class Overruled(Local, frozen=True, array_like=True):
    """This epoch counts no more: its owner shall not award it, its winner need not work at it."""

    task: TaskId
    epoch: Epoch


class Begin(Local, frozen=True, array_like=True):
    """A majority knows that this task, to be done at most once, is about to start; or it says, since we slept, that it
    counts still. Now it may."""

    task: TaskId
    epoch: Epoch


# --- recorded --------------------------------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line of the journal. It takes the place of an earlier one of the same kind and key."""

    @property
    def key(self) -> str:
        raise NotImplementedError


class SpecEntry(Entry, frozen=True, array_like=True):
    """What a holder keeps, and how often it has moved."""

    spec: Spec
    move: Count

    @property
    def key(self) -> str:
        return self.spec.task.id


class RegisterEntry(Entry, frozen=True, array_like=True):
    """What a holder has promised, accepted and learnt. `decided`: what it has accepted last is decided."""

    task: TaskId
    promised: Epoch
    floor: Epoch
    accepted: tuple[Epoch, Choice] | None = None
    decided: bool = False
    started: Epoch | None = None

    @property
    def key(self) -> str:
        return self.task


class Answer(enum.IntEnum):
    """What a winner has answered to an award, for ever."""

    ACCEPTED = 1
    RELEASED = 2  # declined, given back, cancelled, failed: never committed
    RESULT = 3
    DECIDED = 4  # its task has ended, with this result or another


class AwardEntry(Entry, frozen=True, array_like=True):
    """An award that came here. With RESULT, what it came to."""

    task: TaskId
    epoch: Epoch
    answer: Answer
    holders: Holders
    move: Count
    outcome: Outcome | None = None

    @property
    def key(self) -> str:
        epoch = self.epoch
        return f"{self.task} {epoch.counter} {epoch.opener} {epoch.incarnation} {epoch.hop}"


class KeptEntry(Entry, frozen=True, array_like=True):
    """How a task has ended: all that is left of its register, until it was fetched, or a day has passed."""

    task: TaskId
    move: Count
    choice: Choice
    kind: Kind = "?"
    label: Annotated[str, Meta(max_length=64)] = ""
    holders: Annotated[tuple[NodeId, ...], Meta(max_length=HOLDERS_MAX)] = ()  # none known: it is not copied

    @property
    def key(self) -> str:
        return self.task


class TombEntry(Entry, frozen=True, array_like=True):
    """This task has ended and is forgotten: nothing is ever promised for it again."""

    task: TaskId

    @property
    def key(self) -> str:
        return self.task


ENTRIES: tuple[type[Entry], ...] = (SpecEntry, RegisterEntry, AwardEntry, KeptEntry, TombEntry)
