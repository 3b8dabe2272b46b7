"""The asyncio shell around an Agent: feeds it what comes, performs its effects in order, wakes it in time.

    socket drained -> Agent.receive \\                        / Send, Publish -> Endpoint (packets shared by a turn)
    executor done  -> Agent.receive  >-- effects, in order --<  Run, Stop     -> executors
    timer          -> Agent.wake    /                        \\ Event         -> log

It is small and dull on purpose: what is decided is decided in the protocols. One loop turn drains all that has come,
then wakes the agent if its deadline is due, so that calls and awards of one turn are made together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from ..protocols.award_rules import CONTRACT_NET, Rule
from ..protocols.batches import Policy
from ..protocols.blobs import CheckBlob, DropParts, ReadPart, WritePart
from ..protocols.contract_events import MessageDropped
from ..protocols.core import (
    Connect,
    Datagram,
    Disconnect,
    Effect,
    Event,
    Message,
    NodeId,
    PeerError,
    Publish,
    Record,
    Resume,
    Run,
    Send,
    Stop,
)
from ..protocols.gate import Recorded
from ..protocols.holders import holder_id
from ..protocols.local_health import LAG_LEAST_S
from ..protocols.participant import Valuation
from ..protocols.performatives import Finished, Output, Reason
from ..protocols.probing import Probes
from ..protocols.retelling import FindLines
from ..protocols.swim_words import Contact, Disconnected, Lag, Subscribed
from ..transport.address import advertised
from ..transport.clock import HybridClock
from ..transport.codec import Codec
from ..transport.links import Cause, Links
from ..transport.security import Ring
from ..transport.zeromq import AddressError, Endpoint
from .agent import MESSAGES, Agent
from .bidder import ThisNode, valuation_of
from .blob_shell import BlobShell
from .blobs import BLOBS_BYTES_MAX, BlobStore
from .events import VOCABULARY, EventLog, Level
from .executors.base import Attempt, Executor
from .executors.command import KIND as COMMAND
from .executors.command import CommandExecutor
from .executors.python import PythonExecutor
from .executors.simulated import SimulatedExecutor
from .executors.workshop import Workshop, load_executor
from .journal import NONCE_BYTES, Journal, JournalError
from .log_search import LogSearch
from .node_events import NodeLoad, NodeStarted, NodeStopped
from .resources import Resources
from .seats import environment

LOG_EVERY_S = 0.1
"""So long a line may wait to be written: what a kill -9 may cost."""
LOAD_EVERY_S = 1.0
LAST_WORDS_S = 2.0
"""So long a node that leaves waits until all it has said is heard."""
_EVENTS: frozenset[type[Effect]] = frozenset(VOCABULARY)
REFUSALS_LOGGED_MAX = 1_000
"""So many lines the log spends on nonsense from strangers; the rest is only counted."""


class Node:
    """One agent on this machine: its sockets, its executors, its log.

    `advertise` is the address that others are told, where `bind` is none for them. `http` are model servers;
    `valuation` and `executors` name the owner's own (`bidder.py`, `executors/own.py`), to be found in `code`. The word
    `command` in what the resources allow makes it run commands. `ring` says who gets in (None: everybody).
    `blobs_bytes_max` bounds what it keeps of large values, in a folder of its own below `folder`. A task that is handed
    in here is to have `holders`; what this node promises is kept in the folder `journal` (None: nowhere, and who has
    died has forgotten it). Raises JournalError, AddressError, LogError, BidderError, HttpError or ExecutorError, each
    of one sentence.
    """

    def __init__(
        self,
        name: NodeId,
        resources: Resources,
        *,
        bind: str,
        folder: Path,
        advertise: str | None = None,
        code: Sequence[Path] = (),
        http: Sequence[str] = (),
        http_key: str | None = None,
        valuation: str | None = None,
        executors: Sequence[str] = (),
        seed: int = 0,
        rule: Rule = CONTRACT_NET,
        policy: Policy = Policy(),  # noqa: B008 -- a frozen value
        probes: int = 0,
        level: Level = "info",
        blobs_bytes_max: int = BLOBS_BYTES_MAX,
        holders: int = 1,
        journal: Path | None = None,
        ring: Ring | None = None,
    ) -> None:
        self.name = name
        self._ring = ring
        self._slots = resources.slots
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._log_timer: asyncio.TimerHandle | None = None
        self._turn_scheduled = False
        self._refusals = 0
        self.drained = asyncio.Event()
        self._last_words: asyncio.TimerHandle | None = None
        self._journal = Journal(journal) if journal is not None else None
        self._records: list[Record] = []
        incarnation = self._journal.incarnation if self._journal is not None else time.time_ns() // 1_000
        nonce = self._journal.nonce if self._journal is not None else secrets.token_hex(NONCE_BYTES)
        clock = HybridClock(time.time)
        log = folder / f"{name}.jsonl"
        self._log = EventLog(log, run=folder.name, node=name, clock=clock, level=level)
        self._log_search = LogSearch(log, self._tell)
        self._blobs = BlobStore(folder / "blobs" / name, bytes_max=blobs_bytes_max)
        vouches = ring.vouches if ring is not None else None
        self._links = Links(name, incarnation, Codec(MESSAGES), clock, vouches=vouches)
        self._endpoint = Endpoint(
            self._links,
            bind=bind,
            ring=ring,
            on_message=self._on_message,
            on_subscribed=lambda node: self._tell(Subscribed(node)),
            on_disconnected=lambda node: self._tell(Disconnected(node)),
            on_garbage=self._on_garbage,
            on_turn=self._on_turn,
        )
        try:
            self.address, announcements = self._told_addresses(advertise)
            self._workshop = Workshop(self._executors(resources, code, http, http_key, executors))
            own = self._own_valuation(valuation, resources, code)
            contact = Contact(
                name,
                incarnation,
                self.address,
                announcements,
                resources.slots,
                resources.speed,
                holder_id(name, nonce),
            )
            self._agent = Agent(
                contact,
                resources,
                time.monotonic(),
                seed=seed,
                rule=rule,
                policy=policy,
                probes=Probes(probes, f"{seed} {name}") if probes else None,
                shop=self._workshop,
                own=own,
                shelf=self._blobs,
                entries=self._journal.entries if self._journal is not None else (),
                recording=self._journal is not None,
                holders=holders,
            )
        except BaseException:
            self._endpoint.close()
            if self._journal is not None:
                self._journal.close()
            raise
        if self._journal is not None:
            self._journal.start(self._in_loop(self._durable), self._in_loop(self._trouble))
        self._blobs.keepers.append(self._agent.carrier.pinned)
        self._blob_shell = BlobShell(self._blobs, self._tell)
        self._write(
            NodeStarted(
                incarnation=incarnation,
                address=self.address,
                slots=resources.slots,
                speed=resources.speed,
                version=version("parley"),
                pid=os.getpid(),
            )
        )
        self._write_load()
        self._log.flush()  # so that a life, however short, is in the log
        self._on_turn()

    @property
    def forgotten(self) -> str:
        """Why whatever a node of this name has promised before is lost; empty: nothing is, or it has no journal."""
        if self._journal is None or not self._journal.fresh:
            return ""
        return "has the copy of a journal" if self._journal.copied else "has no journal yet"

    def _told_addresses(self, advertise: str | None) -> tuple[str, str]:
        """Where others reach this node: requests, announcements."""
        address, announcements = self._endpoint.address, self._endpoint.announcements
        if advertise is None:
            return address, announcements
        return advertised(advertise, address), advertised(advertise, announcements, own_port=True)

    def _executors(
        self,
        resources: Resources,
        code: Sequence[Path],
        http: Sequence[str],
        http_key: str | None,
        own: Sequence[str],
    ) -> list[Executor]:
        """Those of the owner first, so that they may take a kind over."""
        slots, speed, fastest = resources.slots, resources.speed, resources.fastest
        env = {"PARLEY_AGENT": self.address}  # what runs here may hand tasks in itself
        if self._ring is not None:
            env["PARLEY_KEYS"] = str(self._ring.folder.absolute())
        blobs = self._blobs.folder
        executors: list[Executor] = [load_executor(name, code, blobs) for name in own]
        executors.append(SimulatedExecutor(speed))
        if COMMAND in resources.allow:
            executors.append(CommandExecutor(speed=speed, fastest=fastest, env=env, blobs=blobs))
        if http:
            from .executors.http import HttpExecutor

            executors += [HttpExecutor(url, key=http_key, slots=slots, blobs=blobs) for url in http]
        python = PythonExecutor(
            [kind for kind in resources.allow if kind != COMMAND],
            slots=slots,
            speed=speed,
            fastest=fastest,
            code=code,
            env=env,
            on_line=lambda task, line: print(f"{self.name} {task}: {line}", file=sys.stderr),
            blobs=blobs.root,
        )
        self._warming = self._loop.create_task(python.warm())
        return [*executors, python]

    def _own_valuation(
        self, name: str | None, resources: Resources, code: Sequence[Path]
    ) -> Callable[[Valuation], Valuation]:
        def this_node() -> ThisNode:
            return ThisNode(self.name, resources.speed, [*resources.tags, *self._workshop.tags])

        if name is None:
            return lambda usual: usual
        return lambda usual: valuation_of(name, usual, this_node, code=code)

    def join(self, address: str) -> None:
        """Enter the fleet of the agent at this address; it is asked until it answers."""
        alias, now = self._endpoint.open(address), time.monotonic()
        self._perform(self._agent.join(alias, now), None, now)
        self._end_turn_soon()

    @property
    def joined(self) -> bool:
        """Some other agent is known."""
        return len(self._agent.membership.members) > 1

    def drain(self) -> None:
        """Take no more work; `drained` is set as soon as nothing is left to do."""
        now = time.monotonic()
        self._perform(self._agent.drain(now), None, now)
        self._end_turn_soon()

    async def close(self, reason: str) -> None:
        """Leave in peace: tell the others, end the workers, write the last line."""
        now = time.monotonic()
        self._perform(self._agent.leave(now), None, now)
        self._endpoint.flush()
        if self._timer is not None:
            self._timer.cancel()
        self._load_timer.cancel()
        if self._last_words is not None:
            self._last_words.cancel()
        if self._log_timer is not None:
            self._log_timer.cancel()
        await self._workshop.close()
        self._blob_shell.close()
        self._log_search.close()
        if self._journal is not None:
            self._write_records()
            self._journal.close()
        self._log.write(self._load(), time.monotonic(), None)
        self._log.write(NodeStopped(reason=reason), time.monotonic(), None)
        self._log.close()
        self._endpoint.close()

    # -- what comes in

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        now = time.monotonic()
        try:
            effects = self._agent.receive(message, sender, now)
        except PeerError as error:
            self._on_garbage(error)
        else:
            self._perform(effects, cause, now)  # the endpoint says itself when its turn ends

    def _on_garbage(self, error: PeerError) -> None:
        self._refusals += 1
        if self._refusals <= REFUSALS_LOGGED_MAX:
            self._write(MessageDropped(reason=str(error)))

    def _tell(self, message: Message) -> None:
        """Something happened on this node."""
        now = time.monotonic()
        self._perform(self._agent.receive(message, self.name, now), None, now)
        self._end_turn_soon()

    def _in_loop(self, heard: Callable[..., None]) -> Callable[..., None]:
        """As another thread may call it."""

        def call(*arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(heard, *arguments)

        return call

    def _durable(self, number: int) -> None:
        self._tell(Recorded(number))

    def _trouble(self, sentence: str | None, for_good: bool) -> None:
        """The journal's disk is full, or is not any more; or it has failed, and nothing may be promised again."""
        if for_good:
            raise JournalError(sentence)
        now = time.monotonic()
        self._perform(self._agent.refuse(sentence or "", now), None, now)
        self._end_turn_soon()
        print(f"{self.name}: {sentence or 'the journal has room again: work is taken'}", file=sys.stderr)

    def _tell_end(self, message: Finished | Output) -> None:
        """An executor speaks. What a result refers to is there before the result is told."""
        if isinstance(message, Finished) and message.blobs and (refusal := self._blobs.adopt(message.blobs)):
            task, epoch, seconds = message.task, message.epoch, message.seconds
            message = Finished(task, epoch, Reason.DIED, error=refusal, seconds=seconds)
        self._tell(message)

    def _on_turn(self) -> None:
        """All that had come has been told: wake what is due, set the timer."""
        self._turn_scheduled = False
        if self._agent.drained and not self.drained.is_set():
            self._leave_when_heard()
        deadline = self._agent.deadline
        now = time.monotonic()
        while deadline is not None and deadline <= now:
            self._perform(self._agent.wake(now), None, now)
            deadline = self._agent.deadline
        self._write_records()
        if deadline is not None and (self._timer is None or deadline < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()  # one that rings too early is left: cheaper than moving it every turn
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _leave_when_heard(self) -> None:
        """Nothing is left to do; the last results are to be heard, and not overtaken by the news that we have left."""
        if self._links.settled:
            self.drained.set()
        elif self._last_words is None:
            self._last_words = self._loop.call_later(LAST_WORDS_S, self.drained.set)

    def _on_timer(self) -> None:
        assert self._timer is not None
        now = time.monotonic()
        late_s = now - self._timer.when()
        self._timer = None
        if late_s >= LAG_LEAST_S:
            self._perform(self._agent.receive(Lag(late_s), self.name, now), None, now)
        self._on_turn()

    def _load(self) -> NodeLoad:
        running, waiting, queued_s = self._agent.participant.load()
        sent = self._links.counters
        return NodeLoad(
            slots=self._slots,
            running=running,
            waiting=waiting,
            queued_s=queued_s,
            messages=sent.items_sent,
            bytes=sent.bytes_sent,
        )

    def _write_load(self) -> None:
        self._write(self._load())
        self._load_timer = self._loop.call_later(LOAD_EVERY_S, self._write_load)

    def _write_log(self) -> None:
        self._log_timer = None
        self._log.flush()

    # -- what goes out

    def _perform(self, effects: Sequence[Effect], cause: Cause | None, now: float) -> None:
        """What the agent answered at this moment, which is also that of its events."""
        log, links = self._log, self._links
        for effect in effects:
            kind = type(effect)
            if kind is Record:
                self._records.append(effect)  # type: ignore[arg-type]
            elif kind is Send:
                links.send(effect.to, effect.message)  # type: ignore[attr-defined]
            elif kind in _EVENTS:
                log.write(effect, now, cause)  # type: ignore[arg-type]
                if self._log_timer is None:
                    self._log_timer = self._loop.call_later(LOG_EVERY_S, self._write_log)
            else:
                self._perform_rarer(effect)
        self._endpoint.flush()

    def _perform_rarer(self, effect: Effect) -> None:
        match effect:
            case Run(task, epoch, payload, follow, seat):
                env = environment(seat, self._agent.address_of)
                self._workshop.start(Attempt(task, epoch, payload, follow, env), self._tell_end)
            case Datagram(to, message):
                self._links.datagram(to, message)
            case Publish(message):
                self._links.publish(message)
            case Resume(task_id, epoch, size):
                self._workshop.resume(task_id, epoch, size)
            case Stop(task_id, epoch):
                self._workshop.stop(task_id, epoch)
            case Connect(node, incarnation, address, announcements):
                self._connect(node, incarnation, address, announcements)
            case Disconnect(node):
                self._endpoint.disconnect(node)
            case FindLines():
                self._log.flush()
                self._log_search.begin(effect)
            case ReadPart() | WritePart() | DropParts() | CheckBlob():
                self._blob_shell.perform(effect)

    def _write_records(self) -> None:
        """All that one turn has recorded, at once: the journal's thread is woken once."""
        if self._records and self._journal is not None:
            self._journal.write(self._agent.recorded, self._records)
            self._records = []

    def _end_turn_soon(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._on_turn)

    def _connect(self, node: NodeId, incarnation: int, address: str, announcements: str) -> None:
        """A peer may have told an address that is none here."""
        try:
            self._endpoint.connect(node, incarnation, address, announcements)
        except AddressError as error:
            self._on_garbage(PeerError(f"{node} cannot be reached: {error}"))

    def _write(self, event: Event) -> None:
        self._perform([event], None, time.monotonic())
