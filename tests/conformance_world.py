"""Plays for the conformance tests: real Initiators and Participants, and people who say what they like.

    Play(["a"], {"b": (1, 1.0)}, {"m": bids(0.2, then=inform)})

puts an initiator on the stage, a participant that invites itself to nothing, and somebody who keeps to no protocol.
`transcript` is what was said and what came out, to be read by people.

A participant may have tasks of its own to hand out while it runs one (`parts`): such an attempt ends when they have
ended, or at its timeout, and takes them along when it is stopped. That is what a function does that is a client of the
agent it runs on.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from contract_world import TO_INITIATOR, Node, World, by_speed

from parley.protocols.award_rules import CONTRACT_NET, Rule
from parley.protocols.core import (
    Effect,
    Local,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerError,
    PeerUp,
    Publish,
    Run,
    Send,
    State,
    Stop,
    Task,
    TaskId,
)
from parley.protocols.load import Load
from parley.protocols.participant import Valuation
from parley.protocols.performatives import (
    Availability,
    Award,
    Bid,
    CallForProposals,
    Cancel,
    Completed,
    Decline,
    Failure,
    Fenced,
    Finished,
    Inform,
    NotUnderstood,
    Proposal,
    Reason,
    Refusal,
    Rejection,
    Renew,
)

TRANSCRIPTS = Path(__file__).parent / "transcripts"
FREE = Load((0.0,), 0, 0.0, 1.0)
Person = Callable[[Message], Sequence[tuple[float, Message]]]
"""What it hears -> after how many seconds it answers, and what."""


class Cue(Local, frozen=True, array_like=True):
    """It is this person's turn to speak."""

    to: NodeId
    line: Message


class Job:
    """What an attempt has handed out of its work."""

    def __init__(self, parts: Iterable[TaskId]) -> None:
        self.open = list(parts)
        self.values: list[str] = []


class Play(World):
    """A world whose every word is written down."""

    def __init__(
        self,
        initiators: Sequence[NodeId],
        participants: Mapping[NodeId, tuple[int, float]],
        people: Mapping[NodeId, Person] | None = None,
        *,
        absent: Sequence[NodeId] = (),
        rule: Rule = CONTRACT_NET,
        value: Callable[[NodeId, float], Valuation] = lambda name, speed: by_speed(speed),
        parts: Callable[[Task, int], Sequence[Task]] = lambda task, epoch: (),
    ) -> None:
        """All initiators invite all participants and people, and the `absent`, who do not exist."""
        super().__init__({}, rule=rule, value=value)
        self.participants = set(participants)
        self.people = dict(people or {})
        self._parts = parts
        self._jobs: dict[tuple[NodeId, TaskId, int], Job] = {}  # of which attempt, where
        self._lines: list[str] = []
        for name, (slots, speed) in participants.items():
            self.start(name, slots, speed)
        for name in (*initiators, *self.people):
            if name not in participants:
                self.start(name, 1, 1.0)
        for name in initiators:
            self.meet(name, *participants, *self.people, *absent)

    # -- what the stage director does

    def meet(self, initiator: NodeId, *others: NodeId) -> None:
        for other in others:
            self.tell(initiator, PeerUp(other))

    def come_back(self, name: NodeId, life: int, *known: NodeId) -> None:
        """Knowing nothing of what it was; its participants are told before it calls them."""
        self._note(f"{name} is back, in its life {life}")
        self.start(name, 1, 1.0, life)
        self.meet(name, *known)

    def say(self, speaker: NodeId, to: NodeId, message: Message) -> None:
        """Of its own accord."""
        self._perform(self.nodes[speaker], [Send(to, message)])

    def cancel(self, initiator: NodeId, task: TaskId) -> None:
        self._note(f"{initiator} cancels {task}")
        node = self.nodes[initiator]
        cancelled = node.initiator.cancel(task, State.CANCELLED, Reason.CANCELLED, "cancelled by its client", self.now)
        self._perform(node, cancelled)

    def die(self, name: NodeId, *told: NodeId) -> None:
        """And these are told."""
        self._note(f"{name} dies")
        self.kill(name)
        for key in [key for key in self._jobs if key[0] == name]:
            del self._jobs[key]
        for other in told:
            self.tell(other, PeerDown(name))

    # -- what happens

    def _deliver(self, node: Node, message: Message, sender: NodeId) -> None:
        if isinstance(message, Cue):
            self._perform(node, [Send(message.to, message.line)])
        elif node.name in self.people:
            for pause_s, line in self.people[node.name](message):
                self._push(self.now + pause_s, node.name, Cue(sender, line), node.name, ("", 0), node.life)
        elif node.name in self.participants or isinstance(message, (*TO_INITIATOR, Completed)):
            if isinstance(message, Finished) and message.reason is not None:
                self._cancel_parts(node, message.task, message.epoch)
            try:
                super()._deliver(node, message, sender)
            except PeerError as error:
                self._note(f"{node.name} drops it: {error}")
            if isinstance(message, Completed):
                self._part_ended(node, message.outcome)

    def _perform(self, node: Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._told(node.name, to, message)
                case Publish(message):
                    self._told(node.name, "all", message)
                case Run(task, epoch, _):
                    self._note(f"{node.name} starts {task.id}, epoch {epoch}")
                    if parts := self._parts(task, epoch):
                        self._hand_out(node, task, epoch, parts)
                        continue
                case Stop(task_id, epoch):
                    self._note(f"{node.name} stops {task_id}, epoch {epoch}")
                    self._cancel_parts(node, task_id, epoch)
            super()._perform(node, [effect])

    # -- attempts that hand out parts of their work

    def _hand_out(self, node: Node, task: Task, epoch: int, parts: Sequence[Task]) -> None:
        self.starts[task.id, epoch, node.name, node.life] += 1
        node.running.add((task.id, epoch))
        assert len(node.running) <= node.slots
        self._jobs[node.name, task.id, epoch] = Job([part.id for part in parts])
        for part in parts:
            self._note(f"{node.name} hands in {part.id}, part of {task.id}")
            self._perform(node, node.initiator.call(part, b"", self.now))
        late = Finished(task.id, epoch, Reason.TIMEOUT, error=f"not done within its {task.timeout_s:g} s")
        self._push(self.now + task.timeout_s, node.name, late, node.name, (task.id, epoch), node.life)

    def _part_ended(self, node: Node, part: Outcome) -> None:
        key = next((key for key, job in self._jobs.items() if key[0] == node.name and part.task in job.open), None)
        if key is None:
            return
        _, task, epoch = key
        job = self._jobs[key]
        job.open.remove(part.task)
        job.values.append(part.value.decode())
        if part.state is not State.DONE:
            ended = Finished(task, epoch, Reason.ERROR, error=f"its part {part.task} is {part.state}: {part.error}")
        elif job.open:
            return
        else:
            del self._jobs[key]
            ended = Finished(task, epoch, value=f"{task} of {' and '.join(job.values)}".encode())
        self._push(self.now, node.name, ended, node.name, (task, epoch), node.life)

    def _cancel_parts(self, node: Node, task: TaskId, epoch: int) -> None:
        """An attempt takes its parts along."""
        if (job := self._jobs.pop((node.name, task, epoch), None)) is not None:
            for part in job.open:
                self.cancel(node.name, part)

    # -- what is written down

    def _note(self, text: str) -> None:
        self._lines.append(f"{self.now * 1000:8.1f} ms  {text}")

    def _told(self, speaker: NodeId, to: NodeId, message: Message) -> None:
        if isinstance(message, Completed):
            self._note(f"{speaker}: {end(message.outcome)}")
        elif not isinstance(message, Local):
            auction = getattr(message, "auction", "")
            self._note(f"{speaker} -> {to}: {f'[{auction}] ' if auction else ''}{words(message)}")

    def transcript(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


def comparing(case: Callable[..., None]) -> Callable[..., None]:
    """Compares what was said in one play or several with the file of this case, which opens with its docstring."""
    path = TRANSCRIPTS / f"conformance_{case.__name__.removeprefix('test_')}.txt"

    def compare(*plays: Play) -> None:
        said = "\n".join(play.transcript() for play in plays)
        text = f"{inspect.cleandoc(case.__doc__ or '')}\n\n{said}"
        if os.environ.get("PARLEY_WRITE_TRANSCRIPTS"):
            path.write_text(text)
        assert text == path.read_text()

    return compare


def end(outcome: Outcome) -> str:
    """How a task has ended, in a few words."""
    where = f" on {outcome.node}, epoch {outcome.epoch}" if outcome.node else ""
    value = f": {outcome.value.decode()}" if outcome.value else ""
    return f"{outcome.task} is {outcome.state}{where}{value}{f' ({outcome.error})' if outcome.error else ''}"


def words(message: Message) -> str:
    """A message in a few words; its conversation stands before it."""
    match message:
        case CallForProposals(_, tasks, reply_by_s, best_s):
            best = [f", for less than {known:.3g} s" for known in best_s] or [""] * len(tasks)
            asked = [f"{task.id}{_terms(task)}{less}" for task, less in zip(tasks, best, strict=True)]
            return f"CallForProposals {'; '.join(asked)}; within {reply_by_s:g} s"
        case Proposal(_, bids, declines):
            offers = [f"{bid.task} in {sum(seconds for _, seconds in bid.terms):.3g} s" for bid in bids]
            return f"Proposal {'; '.join([*offers, *_declined(declines)])}"
        case Refusal(_, declines):
            return f"Refusal {'; '.join(_declined(declines))}"
        case Award(_, task, epoch, lease_s):
            return f"Award {task.id}, epoch {epoch}, lease {lease_s:g} s"
        case Rejection(_, rejected, reason):
            return f"Rejection {', '.join(rejected)}: {reason}"
        case Renew(attempts):
            held = [f"{task}, epoch {epoch}, {'runs' if runs else 'waits'}" for task, epoch, runs in attempts]
            return f"Renew {'; '.join(held)}"
        case Inform(_, done, epoch, value):
            return f"Inform {done}, epoch {epoch}: {value.decode()}"
        case Failure(_, failed, epoch, reason, detail):
            return f"Failure {failed}, epoch {epoch}: {reason}{f', {detail}' if detail else ''}"
        case Cancel(_, wanted, epoch) | Fenced(wanted, epoch):
            return f"{type(message).__name__} {wanted}, epoch {epoch}"
        case NotUnderstood(about, detail):
            return f"NotUnderstood {about}: {detail}"
        case Availability(load):
            return f"Availability: {load.ready_s.count(0.0)} free"
    return type(message).__name__


def _terms(task: Task) -> str:
    terms = task.conditions
    said = [f"{task.work:g} s of work"] if task.work is not None else []
    said += [f"needs {need}" for need in terms.needs]
    said += [f"{terms.deadline_s:g} s left"] if terms.deadline_s is not None else []
    return f" ({', '.join(said)})" if said else ""


def _declined(declines: Sequence[Decline]) -> list[str]:
    return [f"not {one.task} ({one.reason}{f': {one.detail}' if one.detail else ''})" for one in declines]


# --- people


def silent(message: Message) -> Sequence[tuple[float, Message]]:
    return ()


def bids(
    price: float, *, after_s: float = 0.0, only: Sequence[TaskId] = (), then: Person = silent, load: Load = FREE
) -> Person:
    """Proposes so much for all tasks, or for these; `then`: what it says to the rest."""

    def hear(message: Message) -> Sequence[tuple[float, Message]]:
        if not isinstance(message, CallForProposals):
            return then(message)
        asked = [task.id for task in message.tasks if not only or task.id in only]
        return [(after_s, propose(message.auction, price, *asked, load=load))] if asked else []

    return hear


def propose(auction: str, price: float, *tasks: TaskId, load: Load = FREE) -> Proposal:
    return Proposal(auction, tuple(Bid(task, (("queue", 0.0), ("run", price))) for task in tasks), (), load, 0)


def refuse(auction: str, *tasks: TaskId, reason: Reason = Reason.KIND, detail: str = "do not offer it") -> Refusal:
    return Refusal(auction, tuple(Decline(task, reason, detail) for task in tasks), FREE, 0)


def inform(award: Award) -> Inform:
    return Inform(award.auction, award.task.id, award.epoch, b"done", 0.1, FREE, award.number)


def fail(award: Award, reason: Reason, detail: str = "") -> Failure:
    return Failure(award.auction, award.task.id, award.epoch, reason, detail, 0.1, FREE, award.number)


def informs(message: Message) -> Sequence[tuple[float, Message]]:
    """Does what it is awarded in a tenth of a second."""
    return [(0.1, inform(message))] if isinstance(message, Award) else []
