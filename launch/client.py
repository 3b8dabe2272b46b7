"""One connection to one agent: hands tasks in, is told how they ended, asks what stands where.

    connection = await Connection.connect(["tcp://127.0.0.1:4100"])
    handle = connection.hand_in(submit)
    await handle.taken, await handle.outcome

It has one socket of its own and listens on none. What it says arrives once and in order while both ends live. It
chooses who holds a task, once: its agent first, the rest by rendezvous hash among the living.

    agent n1 no longer answers (for 5 s; for 1 s if its line was cut and others are known), or was started anew
      -> another agent of the fleet: the same tasks, with the same ids and holders, and the same questions
      -> nobody answers, or nobody else held it: it fails with `AgentUnreachable`, and so does what is asked afterwards

`futures/` makes executors of it.

Invariant: whatever was handed in or asked ends, by an answer or by an error, when all agents are lost or the connection
closed; a task that is handed in again is the same task.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import msgspec

from ..agents.agent import MESSAGES
from ..protocols.core import ENDED, Message, NodeId, Outcome, PeerError, State, Task
from ..protocols.holders import Candidates
from ..protocols.performatives import TASKS_PER_CALL_MAX, Credit, Output
from ..protocols.requests import (
    UNREAD_BYTES_MAX,
    UNREAD_MAX,
    WHICH_MAX,
    AskDivision,
    AskDrain,
    AskNodes,
    AskPlan,
    AskResult,
    AskTasks,
    Cancelled,
    CancelTasks,
    DivisionTold,
    Draining,
    Follow,
    NodeLine,
    Nodes,
    NotFound,
    Planned,
    Progress,
    Read,
    Refused,
    Result,
    ResultOf,
    Submit,
    Submitted,
    TaskLine,
    Tasks,
    Wait,
)
from ..protocols.retelling import AskLines, LinesTold
from ..protocols.swim_words import LIVING
from ..transport.address import exact
from ..transport.clock import HybridClock
from ..transport.codec import Codec
from ..transport.links import Cause, Links
from ..transport.security import NONCE_BYTES, Ring, certified
from ..transport.zeromq import AddressError, Endpoint
from . import keys
from .handle import Handle, OnOutput
from .porter import Porter
from .problems import AgentUnreachable, Exit, Problem
from .submission import Submission

CONNECT_S = 5.0
NEXT_S = 0.25
"""So long an agent is asked alone, if there is another."""
PROBE_EVERY_S = 1.0
GONE_S = 5.0
"""An agent that leaves questions unanswered for so long is gone."""
CUT_S = 1.0
"""So long it has when its connection has just been cut, and another agent is known."""
SLEPT_S = 10.0
"""Who has slept for so long may have been given up by the agent, and asks for what was missed."""
READ_EVERY = UNREAD_MAX // 4
READ_EVERY_BYTES = UNREAD_BYTES_MAX // 4
UNANSWERED_MAX = 1_000
UNANSWERED_BYTES_MAX = 8 * 1024 * 1024
"""Submissions under way that the agent has not answered: no more than a link can hold."""
_CODEC = Codec(MESSAGES)


def _links(ring: Ring | None, nonce: bytes) -> Links:
    """Under a name of its own, the same with every agent; where there are keys, under one that nobody else can bear."""
    clock, life = HybridClock(time.time), time.time_ns() // 1_000
    if ring is None:
        return Links(f"client-{nonce.hex()}", life, _CODEC, clock)
    return Links(certified("client", ring.key, nonce), life, _CODEC, clock, vouches=ring.vouches)


RingOf: TypeAlias = Callable[[str], Ring | None]
Answer: TypeAlias = Nodes | Tasks | Progress | ResultOf | Planned | DivisionTold | Cancelled | Draining | LinesTold
A = TypeVar("A")
Q = TypeVar("Q", Nodes, Tasks, ResultOf, Planned, DivisionTold, Cancelled, Draining, LinesTold)


class Connection:
    """One connection to one agent, and to another if that dies. Make it with `connect`."""

    def __init__(self, address: str, ring_of: RingOf = keys.for_client) -> None:
        self.address = address
        self._others: tuple[str, ...] = ()  # whom else we were told of
        self._lines: tuple[NodeLine, ...] = ()  # the fleet, as we have heard of it last
        self._candidates = Candidates(None, (), 1)  # of whom those who hold a task are chosen
        self._moving = False  # from one agent to another
        self._anew = False  # the agent was started anew
        self._ring_of = ring_of
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._handles: dict[str, Handle] = {}
        self._asked: dict[int, asyncio.Queue[Answer | Problem]] = {}
        self._questions: dict[int, Message] = {}
        self._requests = itertools.count(1)
        self._outbox: deque[Submit] = deque()  # submissions that wait for earlier ones to be answered
        self._unanswered: dict[str, int] = {}  # bytes of each submission under way
        self._unanswered_bytes = 0
        self._offered: dict[str, bool] = {}  # tasks with large values: has the agent taken these?
        self._porter_: Porter | None = None
        self._given_up: list[str] = []  # tasks to be cancelled at the end of this turn
        self._results = 0
        self._results_told = 0
        self._unread_bytes = 0
        self._lost: str = ""
        self._life: tuple[NodeId, int] | None = None  # the agent's name and incarnation
        self._cut = asyncio.Event()
        self._limit_s = GONE_S  # how long the agent has to answer whether it lives
        self._asking: asyncio.Timeout | None = None  # it is being asked
        self._background: set[asyncio.Task[None]] = set()
        self._dial(address)

    def _dial(self, address: str) -> None:
        """Speak to this agent from now on. Raises Problem if that is no address."""
        self.address = address
        self._life = None
        self._cut.clear()
        try:
            self._where = exact(address, bind=False)
        except AddressError as error:
            raise Problem(str(error), Exit.USAGE) from None
        ring = self._ring_of(self._where)
        self._links = _links(ring, self._nonce)
        self._endpoint = Endpoint(
            self._links,
            bind=None,
            ring=ring,
            on_message=self._on_message,
            on_garbage=lambda error: None,
            on_turn=self._on_turn,
            on_disconnected=lambda node: self._on_cut(),
        )
        try:
            self._agent: NodeId = self._endpoint.open(address)
        except AddressError as error:
            self._endpoint.close()
            raise Problem(str(error), Exit.USAGE) from None

    @classmethod
    async def connect(
        cls, addresses: Sequence[str], timeout_s: float = CONNECT_S, ring_of: RingOf = keys.for_client
    ) -> Connection:
        """A connection to the first of these agents that answers; while one does not, the next is asked as well, as
        RFC 8305 does with addresses. Raises AgentUnreachable if none does in time.

        `ring_of` has the keys with which an exact address is dialled.
        """
        asked: dict[asyncio.Task[tuple[NodeLine, ...]], Connection] = {}
        chosen: Connection | None = None
        give_up, alone_s = time.monotonic() + timeout_s, min(NEXT_S, timeout_s / max(len(addresses), 1))
        try:
            for address in addresses:
                asking = cls(address, ring_of)
                asked[asyncio.create_task(asking.nodes())] = asking
                until_s = alone_s if len(asked) < len(addresses) else give_up - time.monotonic()
                answered, _ = await asyncio.wait(asked, timeout=until_s, return_when=asyncio.FIRST_COMPLETED)
                if answered:
                    first = answered.pop()
                    first.result()
                    chosen = asked[first]
                    chosen._others = tuple(other for other in addresses if other != chosen.address)
                    chosen._go_on(chosen._keep_asking)
                    return chosen
            raise _unreachable(asked.values())
        finally:
            for question, asking in asked.items():
                question.cancel()
                if asking is not chosen:
                    asking.close()

    @property
    def lost(self) -> AgentUnreachable | None:
        """Why nothing can be asked any more; None: all is well."""
        return AgentUnreachable(self._lost) if self._lost else None

    async def nodes(self) -> tuple[NodeLine, ...]:
        """The fleet as this agent sees it."""
        return (await self._ask(lambda request: AskNodes(request), Nodes)).nodes

    async def tasks(self, which: Sequence[str]) -> list[TaskLine]:
        """Where these tasks stand: ids, beginnings of ids, labels, `last` or `all`. Raises Problem for unknown ones."""
        lines: list[TaskLine] = []
        while True:
            page = await self._ask(partial(AskTasks, which=tuple(which), past=lines[-1].task if lines else ""), Tasks)
            lines += page.lines
            if not page.more or not page.lines:
                return lines

    async def result(self, task: str) -> Outcome:
        """How it ended, as soon as it has. Raises Problem for an unknown task."""
        outcome = (await self._ask(lambda request: AskResult(request, task), ResultOf)).outcome
        if outcome.blobs:
            await self._porter().fetch(outcome.blobs)
        return outcome

    async def cancel(self, which: Sequence[str]) -> Cancelled:
        """Give these tasks up; answered when all of them have stopped. Raises Problem for unknown ones."""
        return await self._ask(lambda request: CancelTasks(request, tuple(which)), Cancelled)

    async def plan(self, task: Task) -> Planned:
        """Who would get this task: a dry auction."""
        return await self._ask(lambda request: AskPlan(request, task), Planned)

    async def division(self, tasks: Sequence[Task]) -> DivisionTold:
        """How would these tasks be divided: a dry division."""
        pieces = [tuple(tasks[at : at + TASKS_PER_CALL_MAX]) for at in range(0, len(tasks), TASKS_PER_CALL_MAX)]

        def question(request: int) -> AskDivision:
            for piece in pieces[:-1]:
                self._endpoint.send(self._agent, AskDivision(request, piece, more=True))
            return AskDivision(request, pieces[-1], more=False)

        return await self._ask(question, DivisionTold)

    async def lines(self, task: str) -> LinesTold:
        """What this agent has told its log of a task, by its whole id."""
        return await self._ask(lambda request: AskLines(request, task), LinesTold)

    async def drain(self) -> Draining:
        """Let this agent end what it has, and leave."""
        return await self._ask(lambda request: AskDrain(request), Draining)

    async def wait(self, which: Sequence[str], on_progress: Callable[[Progress], None] = lambda told: None) -> Progress:
        """Until all of these have ended; the last word. Raises Problem for unknown ones."""
        request, answers = self._put(lambda request: Wait(request, tuple(which)))
        try:
            while True:
                told = await answers.get()
                if isinstance(told, Problem):
                    raise told
                assert isinstance(told, Progress)
                on_progress(told)
                if told.ended:
                    return told
        finally:
            self._forget(request)

    async def _ask(self, question: Callable[[int], Message], kind: type[Q]) -> Q:
        request, answers = self._put(question)
        try:
            told = await answers.get()
        finally:
            self._forget(request)
        if isinstance(told, Problem):
            raise told
        if not isinstance(told, kind):
            raise Problem(f"the agent at {self.address} answers {type(told).__name__} to another question")
        return told

    def _put(self, question: Callable[[int], Message]) -> tuple[int, asyncio.Queue[Answer | Problem]]:
        """A question leaves; its answers will be in the queue. Raises AgentUnreachable if the agent is lost, Problem
        for what no agent would hear."""
        if self._lost:
            raise AgentUnreachable(self._lost)
        message = question(request := next(self._requests))
        if why_not := _CODEC.refuses(message):
            raise Problem(f"no agent can be asked this: {why_not}", Exit.USAGE)
        answers = self._asked[request] = asyncio.Queue()
        self._questions[request] = message
        if not self._moving or isinstance(message, AskNodes):  # what is asked of tasks comes after the tasks
            self._endpoint.send(self._agent, message)
        return request, answers

    def _forget(self, request: int) -> None:
        """It was answered, or nobody waits for it."""
        del self._asked[request], self._questions[request]

    async def ready(self, nodes: int, timeout_s: float) -> tuple[NodeLine, ...]:
        """Wait until so many nodes are ready for work. Raises AgentUnreachable if they are not in time."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            lines = await self.nodes()
            if sum(line.ready for line in lines) >= nodes:
                return lines
            await asyncio.sleep(0.005)
        raise AgentUnreachable(f"the {nodes} nodes were not ready within {timeout_s:g} s")

    def submit(
        self, kind: str, arguments: object, *, work: float | None = None, timeout_s: float = 3600.0
    ) -> asyncio.Future[Outcome]:
        """Hand a plain task in; the future ends with its outcome. `work`: seconds on a node of speed 1, if known."""
        [submit] = Submission(kind, arguments, work=work, timeout_s=timeout_s).submits()
        return self.hand_in(submit).outcome

    def hand_in(self, submit: Submit, on_output: OnOutput | None = None) -> Handle:
        """Hand a task in. One that is not taken has an outcome that says why."""
        handle = Handle(submit, on_output)
        if self._lost:
            handle.fail(AgentUnreachable(self._lost))
            return handle
        self._handles[handle.task] = handle
        self._outbox.append(submit)
        self._offer(submit)
        self._submit_next()
        return handle

    def _offer(self, submit: Submit) -> None:
        """What it refers to goes before it."""
        if submit.blobs:
            self._offered[submit.task.id] = False
            self._porter().offer(submit.task.id, submit.blobs)

    def _held_by(self, submit: Submit) -> Submit:
        """Who is to hold it: chosen once, whatever becomes of the fleet."""
        if submit.holders:
            return submit
        holders = self._candidates.holders(submit.task.id)
        return msgspec.structs.replace(submit, holders=holders) if holders else submit

    def give_up(self, task: str) -> None:
        """Have a task of this connection cancelled, with all others of this turn; its handle tells how it ended."""
        handle = self._handles.get(task)
        if handle is None:
            return
        if not handle.sent:
            self._end(task, never_handed_in(task))
            return
        self._given_up.append(task)
        if len(self._given_up) == 1:
            self._go_on(self._cancel_given_up)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whatever is still under way fails; what was handed in goes on without us."""
        self._lose("the connection was closed")
        for task in self._background:
            task.cancel()
        self._endpoint.close()

    def _submit_next(self) -> None:
        """As many submissions as may be under way; the agent is not flooded."""
        while self._outbox and len(self._unanswered) < UNANSWERED_MAX and not self._moving:
            size = len(self._outbox[0].payload)
            handle = self._handles.get(self._outbox[0].task.id)
            if handle is None:  # given up while it waited
                self._outbox.popleft()
                continue
            if self._unanswered and self._unanswered_bytes + size > UNANSWERED_BYTES_MAX:
                return
            if self._offered and not self._offered.get(handle.task, True):
                return  # in order: what comes after it must not arrive before it
            submit = handle.submit = self._held_by(self._outbox.popleft())
            handle.sent = True
            self._unanswered[submit.task.id] = size
            self._unanswered_bytes += size
            self._endpoint.send(self._agent, submit)

    def _answered(self, task: str) -> None:
        self._unanswered_bytes -= self._unanswered.pop(task, 0)
        self._offered_no_more(task)
        self._submit_next()

    @property
    def _name(self) -> NodeId:
        """The agent's, as far as it is known."""
        return self._links.name(self._agent) or self._agent

    def _post(self, to: NodeId, message: Message) -> None:
        self._endpoint.send(to, message)

    def _porter(self) -> Porter:
        """Made when something is large."""
        if self._porter_ is None:
            try:
                self._porter_ = Porter(self._links.node, self._name, self._post, self._values_taken)
            except OSError as error:
                raise Problem(f"there is no room for large values in {tempfile.gettempdir()}: {error}") from None
        return self._porter_

    def _values_taken(self, task: str, error: str) -> None:
        """The agent has the large values of a task, or will not have them."""
        if task not in self._offered:
            return
        self._offered[task] = True
        if error:
            self._refused(task, error)
        self._submit_next()

    def _offered_no_more(self, task: str) -> None:
        if self._offered.pop(task, None) is not None and self._porter_ is not None:
            self._porter_.done(task)

    async def _end_with_values(self, outcome: Outcome) -> None:
        """Its result is told when what it refers to is here."""
        try:
            await self._porter().fetch(outcome.blobs)
        except AgentUnreachable:
            raise
        except Problem as problem:
            handle = self._handles.pop(outcome.task, None)
            if handle is not None:
                handle.fail(problem)
        else:
            self._end(outcome.task, outcome)

    async def _end_elsewhere(self, task: str) -> None:
        """An agent does not take what another has taken before: its holders see to it, and any agent can ask them."""
        try:
            outcome = await self.result(task)
        except AgentUnreachable:
            raise
        except Problem as unknown:
            outcome = Outcome(task, State.UNKNOWN, error=str(unknown))
        self._end(task, outcome)

    def _on_turn(self) -> None:
        """Tell now and then how many results have been read: the agent waits for it when many were not."""
        if self._life is not None and self._links.knows(self._life[0]) != self._life[1]:
            self._anew = True
            self._cut.set()
            return
        if self._results - self._results_told >= READ_EVERY or self._unread_bytes >= READ_EVERY_BYTES:
            self._results_told = self._results
            self._unread_bytes = 0
            self._endpoint.send(self._agent, Read(self._results))

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        match message:
            case Result(outcome):
                self._results += 1
                self._unread_bytes += len(outcome.value)
                if outcome.blobs and outcome.task in self._handles:
                    self._go_on(partial(self._end_with_values, outcome))
                else:
                    self._end(outcome.task, outcome)
            case Submitted(task):
                self._answered(task)
                handle = self._handles.get(task)
                if handle is not None:
                    handle.take()
                    if handle.follow is Follow.NOTHING:
                        del self._handles[task]
            case (
                Nodes() | Tasks() | Progress() | ResultOf() | Planned() | DivisionTold() | Cancelled() | Draining()
                | LinesTold()
            ):
                if isinstance(message, Nodes):
                    self._lines = message.nodes
                    self._candidates = Candidates(message.me, message.nodes, message.holders)
                if message.request in self._asked:
                    self._asked[message.request].put_nowait(message)
            case NotFound(request, error):
                if request in self._asked:
                    self._asked[request].put_nowait(Problem(error))
            case Output(task, epoch, stream, data):
                handle = self._handles.get(task)
                if handle is not None and handle.on_output is not None:
                    handle.on_output(stream, data, epoch)
                self._endpoint.send(self._agent, Credit(task, epoch, len(data)))
            case Refused(task, error):
                self._answered(task)
                self._refused(task, error)
            case _:
                if self._porter_ is None or not self._porter_.receive(message, sender):
                    raise PeerError(f"{sender} sent {type(message).__name__}, which a client is not told")

    def _refused(self, task: str, error: str) -> None:
        """It is not taken; if another agent has taken it before, that counts."""
        handle = self._handles.get(task)
        if handle is not None and handle.taken.done():
            self._outbox = deque(submit for submit in self._outbox if submit.task.id != task)
            self._go_on(partial(self._end_elsewhere, task))
        else:
            self._end(task, Outcome(task, State.FAILED, error=f"not taken: {error}"))

    def _end(self, task: str, outcome: Outcome) -> None:
        self._offered_no_more(task)
        handle = self._handles.pop(task, None)
        if handle is not None:
            handle.end(outcome)

    def _go_on(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Meanwhile; an agent that is lost ends it."""

        async def until_lost() -> None:
            with contextlib.suppress(AgentUnreachable):
                await work()

        task = asyncio.get_running_loop().create_task(until_lost())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _lose(self, sentence: str) -> None:
        """Nothing more will come from this agent."""
        if self._lost:
            return
        self._lost = sentence
        handles, self._handles = self._handles, {}
        self._outbox.clear()
        self._offered.clear()
        if self._porter_ is not None:
            self._porter_.close(AgentUnreachable(sentence))
        for handle in handles.values():
            handle.fail(AgentUnreachable(sentence))
        for answers in self._asked.values():
            answers.put_nowait(AgentUnreachable(sentence))

    async def _cancel_given_up(self) -> None:
        await asyncio.sleep(0)  # until this turn is over
        tasks, self._given_up = self._given_up, []
        await self._of_many(tasks, self.cancel)

    async def _of_many(self, tasks: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[A]]) -> list[A]:
        """Many in one question; if one of them is not known there any more, each by itself."""
        answers: list[A] = []
        for start in range(0, len(tasks), WHICH_MAX):
            some = tasks[start : start + WHICH_MAX]
            try:
                answers.append(await ask(some))
            except AgentUnreachable:
                raise
            except Problem:
                if len(some) > 1:
                    answers += [told for task in some for told in await self._of_many([task], ask)]
        return answers

    async def _keep_asking(self) -> None:
        """While something is under way, a silent agent is asked whether it lives; at once, if its line was cut."""
        self._note_life()
        while True:
            asleep_since = time.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cut.wait(), PROBE_EVERY_S)
            self._limit_s = CUT_S if self._cut.is_set() and self._elsewhere else GONE_S
            self._cut.clear()
            if not self._handles and not self._asked:
                continue
            if self._anew:
                lost = f"the agent at {self.address} was started anew and knows nothing of what it was given"
            elif not await self._answers():
                lost = f"the agent at {self.address} has not answered for {self._limit_s:g} s"
            else:
                lost = ""
            if lost and not await self._fail_over(AgentUnreachable(lost)):
                self._lose(lost)
                return
            if time.time() - asleep_since > SLEPT_S:
                await self._catch_up()

    def _note_life(self) -> None:
        """Whom we speak to."""
        name = self._links.name(self._agent)
        incarnation = self._links.knows(name) if name is not None else None
        if name is not None and incarnation is not None:
            self._life = name, incarnation

    async def _fail_over(self, lost: AgentUnreachable) -> bool:
        """Go on with another agent. What nobody but the lost one held fails. False: nobody answers."""
        former = self.address
        candidates = [*self._elsewhere, *((former,) if self._anew else ())]
        self._moving = True
        for address in candidates:
            self._endpoint.close(unsent=True)
            if self._lost:  # closed meanwhile
                return False
            try:
                self._dial(address)
                await asyncio.wait_for(self.nodes(), CONNECT_S / len(candidates))
            except (TimeoutError, Problem):
                continue
            self._others = tuple(other for other in (*self._others, former) if other != address)
            self._anew = self._moving = False
            self._note_life()
            self._part(lost)
            self._hand_in_again()
            return True
        return False

    def _part(self, lost: AgentUnreachable) -> None:
        """What only the lost agent had, or could answer, is lost with it."""
        for handle in [handle for handle in self._handles.values() if not handle.outlives]:
            self._handles.pop(handle.task, None)
            self._offered.pop(handle.task, None)
            handle.fail(lost)
        for request, question in self._questions.items():
            if not _may_be_asked_elsewhere(question):
                self._asked[request].put_nowait(lost)

    def _hand_in_again(self) -> None:
        """The same tasks, in the same order, and the same questions."""
        self._results = self._results_told = self._unread_bytes = 0
        self._unanswered.clear()
        self._unanswered_bytes = 0
        self._outbox = deque(handle.submit for handle in self._handles.values())
        if self._porter_ is not None:
            self._porter_.go_over(self._name)
        for submit in self._outbox:
            self._offer(submit)
        self._submit_next()  # before the questions: some are about these tasks
        for request, question in self._questions.items():
            if _may_be_asked_elsewhere(question) and self._asked[request].empty():
                self._endpoint.send(self._agent, question)

    @property
    def _elsewhere(self) -> list[str]:
        """Where other agents of the fleet are, as far as we were told."""
        agent = self._name
        living = [line.address for line in self._lines if line.state in LIVING and line.node != agent]
        return [address for address in dict.fromkeys((*self._others, *living)) if address != self.address]

    def _on_cut(self) -> None:
        """The line to the agent was cut: it is asked whether it lives, and if it is being asked, it has less time."""
        self._cut.set()
        if self._asking is not None and not self._asking.expired() and self._elsewhere:
            self._limit_s = CUT_S
            by = asyncio.get_running_loop().time() + CUT_S / 2
            self._asking.reschedule(min(by, self._asking.when() or by))

    async def _answers(self) -> bool:
        """Is it there? Asked twice: the first answer may lie unread while this process was held up."""
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                try:
                    async with asyncio.timeout(self._limit_s / 2) as self._asking:
                        await self.nodes()
                        return True
                finally:
                    self._asking = None
        return False

    async def _catch_up(self) -> None:
        """An agent forgets the line to a client that has been silent for long, and the results on it: fetch them."""
        followed = [task for task, handle in self._handles.items() if handle.sent and handle.follow > Follow.NOTHING]
        for lines in await self._of_many(followed, self.tasks):
            for line in lines:
                if line.state not in ENDED or line.task not in self._handles:
                    continue
                try:
                    self._end(line.task, await self.result(line.task))
                except AgentUnreachable:
                    raise
                except Problem as forgotten:
                    error = f"it is {line.state}, but {forgotten}"
                    self._end(line.task, Outcome(line.task, State.UNKNOWN, error=error))


def _unreachable(asked: Iterable[Connection]) -> AgentUnreachable:
    """None of these answers."""
    for client in asked:
        if refusal := client._endpoint.refusals.get(client._where):
            sentence = f"the agent at {client.address} lets nobody in from here: {refusal}; `parley keys` helps"
            return AgentUnreachable(sentence)
    where = " or ".join([client.address for client in asked])
    return AgentUnreachable(f"no agent answers at {where}: is it running? `parley up` starts one")


def _may_be_asked_elsewhere(question: Message) -> bool:
    """Any agent can answer it, in the same sense."""
    match question:
        case AskTasks(which=which) | Wait(which=which) | CancelTasks(which=which):
            return "all" not in which and "last" not in which
        case AskResult(task=task):
            return task != "last"
    return isinstance(question, (AskNodes, AskPlan))


def never_handed_in(task: str) -> Outcome:
    """The end of a task that was given up before any agent knew of it."""
    return Outcome(task, State.CANCELLED, error="cancelled before it was handed in")
