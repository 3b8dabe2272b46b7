"""Any agent answers for any task: what is not in its book, it asks all others for.

    agent asked by a client               all others
      | Seek(names, 7) ------- published -> |   whoever owns such a task, holds it, or knows its end
      | <----- Sought(sightings, 7) each    |   ...says where it stands; whoever does not know it, says so
      |   the task is in the book from now on, marked as absent; when all have answered, or SEEK_S have passed,
      |   what nobody knows is not there
      | Seek(ids) every POLL_S -----------> |   while somebody waits for their ends, POLLED_MAX in turn

Source: the queries of publish/subscribe systems; anti-entropy would carry every task to every node instead.

Invariant: a sighting never makes known less than was known: an end beats its owner's word, that beats a holder's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from .commitment_words import Spec
from .core import Count, Message, NodeId, Outcome, State, TaskId
from .performatives import Reason
from .requests import Handle, TaskLine

SEEK_S = 2.0
"""So long others have to answer what nobody here knows: longer than the dead are thought to live."""
POLL_S = 0.25
POLLED_MAX = 1024
"""So many are asked for at a time, others the next: whoever answers works no less for it than who asks."""
NAMES_MAX = 256
SIGHTINGS_MAX = 256
SIGHTING_BYTES_MAX = 1024 * 1024
"""In one message, unless a single outcome is larger."""


class Sighting(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a task stands, as far as its teller knows; `owned`: the teller awards it; `outcome`: it has ended."""

    line: TaskLine
    owned: bool
    outcome: Outcome | None


class Seek(Message, frozen=True, array_like=True):
    """Who knows these tasks: ids, beginnings of ids, labels? `ends`: why whoever owns those is to end them, where these
    are whole ids; where nobody does, their holders see to it. `number`: everybody is to answer, that one question."""

    names: Annotated[tuple[Handle, ...], Meta(min_length=1, max_length=NAMES_MAX)]
    ends: Reason | None = None
    number: Count = 0


class Sought(Message, frozen=True, array_like=True):
    """`number`: with these, all has been said to that question."""

    sightings: Annotated[tuple[Sighting, ...], Meta(max_length=SIGHTINGS_MAX)]
    number: Count = 0


MESSAGES: tuple[type[Message], ...] = (Seek, Sought)


class Parked:
    """A client's word that names tasks of which nothing is known here: what it lacks, who has not answered how often,
    and until when it waits."""

    __slots__ = ("client", "lacks", "silent", "until", "word")

    def __init__(self, word: Message, client: NodeId, lacks: Sequence[str], until: float) -> None:
        self.word = word
        self.client = client
        self.lacks = dict.fromkeys(lacks)
        self.until = until
        self.silent: Counter[NodeId] = Counter()

    def ask(self, number: int, others: Sequence[NodeId]) -> list[Seek]:
        names = list(self.lacks)
        parts = [tuple(names[start : start + NAMES_MAX]) for start in range(0, len(names), NAMES_MAX)]
        self.silent.update({other: len(parts) for other in others})
        return [Seek(part, number=number) for part in parts]

    def answered(self, other: NodeId) -> bool:
        """Has everybody said all?"""
        self.silent[other] -= 1
        self.silent += Counter()  # only those that are to answer still
        return not self.silent


def batches(sightings: list[Sighting], number: int) -> list[Sought]:
    """As few messages as they fit in; a question that has a number is answered in any case."""
    messages: list[Sought] = []
    batch: list[Sighting] = []
    size = 0
    for sighting in sightings:
        weight = 512 + (len(sighting.outcome.value) if sighting.outcome is not None else 0)
        if batch and (len(batch) == SIGHTINGS_MAX or size + weight > SIGHTING_BYTES_MAX):
            messages.append(Sought(tuple(batch)))
            batch, size = [], 0
        batch.append(sighting)
        size += weight
    return [*messages, Sought(tuple(batch), number)] if batch or number else messages


def held(spec: Spec, number: int, owner: NodeId, reason: str = "") -> Sighting:
    """What a holder knows of a task whose end it does not know."""
    reason = reason or f"{len(spec.holders)} nodes hold it; {owner} sees to it, or did"
    line = TaskLine(spec.task.id, spec.label, spec.task.kind, State.OPEN, reason, None, number, 0)
    return Sighting(line, False, None)


def ended(task: TaskId, kind: str, label: str, outcome: Outcome) -> Sighting:
    """What a holder knows of a task that has ended."""
    said = outcome.error.partition("\n")[0]
    line = TaskLine(task, label, kind, outcome.state, said, outcome.node, outcome.epoch, outcome.attempts)
    return Sighting(line, False, outcome)
