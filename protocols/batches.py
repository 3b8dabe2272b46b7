"""A desk's batch: when what waits here is worth a session, what came of it, and trade on what has not started.

    tasks wait, none comes any more         are they worth it?  -> OpenBatch to the living who take such work
    Divided                                 each task has its node; it stays here until it would start there now or next
    all of them are awarded before that     CloseBatch: there is nothing left to be divided
    a slot there is free, now or next       the longest of that node's tasks is awarded, as ever
    a node dies, or gives a task back       its tasks go where they would end soonest: nothing is called again
    a node runs out of tasks                it and the node that has most left divide anew what both have (`trade.py`)
    a node takes longer than it said,       a new session about all that has not started
    has died, or has come

A session takes its time (`session_s`), while the contract net goes on; so it is worth it only where there is work
for much longer, and where it can help. Nodes that are each so many times as fast as another are served as well by late
binding, longest first. It helps where the times of tasks differ otherwise from node to node: `spread` is the root mean
square of what is left of their logarithms, when the means of tasks and nodes are taken off (Friedman's two-way layout),
or infinite, where some node takes some tasks only. Both are told from the bids of the tasks that wait priced.

Sources: Sandholm 1998 (re-allocation by local contracts). Invariants: a task stands in the queue of one node at most; a
meeting is kept only if the larger of the two loads falls.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from .award_rules import Offer
from .batch_words import (
    BATCH_TASKS_MAX,
    BatchDropped,
    BatchMoved,
    BatchOpened,
    CloseBatch,
    Divided,
    Mode,
    OpenBatch,
    TradeMet,
    session_s,
)
from .contract import QUEUE, Contract, Stage, Standing, told_bytes
from .contract_events import BatchLine
from .core import Dividing, Effect, NodeId, Send, Task, TaskId
from .load import Account, Outlook
from .meeting import Side, met
from .performatives import CALL_BYTES_MAX, TASKS_PER_CALL_MAX

SETTLE_S = 0.2
"""A batch is complete when nothing has been handed in for so long."""
LOOK_S = 1.0
"""What is not worth a session now is looked at again after this time."""
TASKS_MIN = 16
WORTH = 8.0
"""The work of each slot must last so many times as long as its session."""
SPREAD_MIN = 0.1
MEMBERS_MAX = 64
"""In larger fleets no session is opened: every member hears all the others in every round."""
WAIT_S = 60.0
"""So long a desk waits for its session; after that it calls it off."""
DRIFT = 1.25
"""A node whose tasks take so many times as long as it said, or as much shorter, has moved."""
OBSERVED_MIN = 3
"""Tasks that must have ended before it counts as moved."""
AGAIN_S = 2.0
"""So long after a session another may be opened."""
TRY_S = 0.1
"""So often a node without tasks looks for some, at most."""
POOL_MAX = 512
WAITING = (Stage.UNCALLED, Stage.CALLED, Stage.PRICED, Stage.DIVIDED)


class Policy(msgspec.Struct, frozen=True):
    """How the batches of a desk are divided, where their tasks do not say otherwise."""

    dividing: Dividing = Dividing.AUTO
    mode: Mode = Mode.ROUNDS
    trade: bool = True


NEVER = Policy(Dividing.CALLS)


class _Lot:
    """A task that was divided: its seconds on each node that takes it, and where it stands now."""

    __slots__ = ("contract", "costs", "node", "session")

    def __init__(self, contract: Contract, costs: dict[NodeId, float], node: NodeId, session: str) -> None:
        self.contract = contract
        self.costs = costs
        self.node = node
        self.session = session

    @property
    def waits(self) -> bool:
        return self.contract.stage is Stage.DIVIDED

    @property
    def key(self) -> tuple[float, float, float, int]:
        """Its place in the queue of its node: the longest first."""
        priority, reward, _, arrival = self.contract.key
        return priority, reward, -self.costs[self.node], arrival


class Batches:
    """What a desk divides. `accounts` are the initiator's, of all that may be invited; `withdraw` takes contracts out
    of its calls."""

    def __init__(
        self,
        node: NodeId,
        prefix: str,
        seed: int,
        policy: Policy,
        accounts: Mapping[NodeId, Account],
        withdraw: Callable[[Sequence[Contract]], None],
    ) -> None:
        self._node = node
        self._prefix = f"{prefix}b"
        self._seed = seed
        self._policy = policy
        self._accounts = accounts
        self._withdraw = withdraw
        self._opened = 0
        self._session = ""  # the one that is open; "": none
        self._members: tuple[NodeId, ...] = ()
        self._batch: list[Contract] = []
        self._unplaced = 0  # so many of it, from its beginning, may wait still
        self._look_at: float | None = None
        self._closes_at = 0.0
        self._again_at = 0.0
        self._moved = False  # so that what is divided should be divided anew
        self._lots: dict[TaskId, _Lot] = {}
        self._queues: dict[NodeId, list[_Lot]] = {}  # the next one last
        self._drift: dict[NodeId, tuple[int, float]] = {}  # ended since the division, mean log of observed / said
        self._tried_at: dict[NodeId, float] = {}
        self._told: list[Effect] = []  # for the log

    # -- told by the initiator

    def arrived(self, contract: Contract, now: float) -> None:
        """A task has come to wait."""
        if self._dividing(contract) is not Dividing.CALLS:
            self._look_at = now + SETTLE_S

    def forget(self, task: TaskId) -> None:
        """It has ended."""
        self._lots.pop(task, None)

    def ended(self, contract: Contract, seconds: float, now: float) -> None:
        """An attempt was done after so many seconds."""
        lot = self._lots.get(contract.task.id)
        if lot is None or contract.winner not in lot.costs:
            return
        count, mean = self._drift.get(contract.winner, (0, 0.0))
        said = max(lot.costs[contract.winner], 1e-6)
        count += 1
        mean += (math.log(max(seconds, 1e-6) / said) - mean) / min(count, 2 * OBSERVED_MIN)
        self._drift[contract.winner] = count, mean
        if count >= OBSERVED_MIN and abs(mean) > math.log(DRIFT):
            self.moved(now)

    def moved(self, now: float) -> None:
        """Who is there, or how fast, is not what it was when the batch was divided."""
        if self._lots and self._policy.trade:
            self._moved = True
            at = max(now, self._again_at)
            self._look_at = at if self._look_at is None else min(self._look_at, at)

    def take_back(self, contract: Contract) -> bool:
        """It is open again: if it was divided, it goes to another node, where it would end soonest."""
        lot = self._lots.get(contract.task.id)
        if lot is None:
            return False
        lot.costs.pop(contract.winner, None)
        return self._place(lot)

    def gone(self, node: NodeId, now: float) -> list[Contract]:
        """It has died: what it was to get goes to others; those that nobody else takes are to be called."""
        left = [lot for lot in self._queues.pop(node, ()) if lot.waits and lot.node == node]
        for lot in self._lots.values():
            lot.costs.pop(node, None)
        self._drift.pop(node, None)
        self.moved(now)
        return [lot.contract for lot in left if not self._place(lot)]

    @property
    def deadline(self) -> float | None:
        if self._session:
            return self._closes_at
        return self._look_at

    def lets(self, outlook: Outlook) -> bool:
        """May a node with this queue be given a task that is not divided? Not what it could not begin soon, while a
        session may name it a better one in time."""
        return not (self._session or self._look_at is not None) or outlook.ready_s <= SETTLE_S

    @property
    def divides(self) -> bool:
        """Something waits by a division."""
        return any(self._queues.values())

    @property
    def heads(self) -> list[Contract]:
        """What is next at each node: asked about now and then, so that no load stays unheard."""
        return [queue[-1].contract for _, queue in sorted(self._queues.items()) if queue and queue[-1].waits]

    # -- opening

    def wake(self, contracts: Iterable[Contract], waiting: int, now: float) -> list[Effect]:
        """Open a session, if there is cause to. `contracts` are all of this desk; `waiting` of them are in calls."""
        told, self._told = self._told, []
        if self._session:
            if self._closes_at <= now:
                return [*told, *self._give_up(f"no end within {WAIT_S:g} s", now + WAIT_S)]
            return told if self._waits else [*told, *self._give_up("all of it is awarded", now + AGAIN_S)]
        if self._look_at is None or self._look_at > now:
            return told
        self._look_at = None
        return [*told, *self._look(contracts, waiting, now)]

    def _look(self, contracts: Iterable[Contract], waiting: int, now: float) -> list[Effect]:
        again = self._moved and bool(self._lots)
        if waiting < 2 and not again:
            return []
        batch = list(filter(self._divisible, contracts))
        if len(batch) > BATCH_TASKS_MAX:
            batch = heapq.nsmallest(BATCH_TASKS_MAX, batch)
        asked = any(self._dividing(contract) is Dividing.PRICES for contract in batch)
        if len(batch) < (2 if asked else TASKS_MIN):
            self._moved = False
            return []
        members, work_s, known = self._outlook(batch, asked)
        worth = work_s >= WORTH * session_s(self._policy.mode, len(members))
        spread = self._spread(known) if worth or asked else 0.0
        worth = worth and spread >= SPREAD_MIN
        if not (worth or asked) or len(members) > MEMBERS_MAX or len(members) < 2:
            self._moved = False
            asking = any(contract.stage is Stage.CALLED for contract in batch)
            self._look_at = now + (SETTLE_S if asking else LOOK_S)
            return []
        return self._open(sorted(batch), members, again, work_s, spread, now)

    def _dividing(self, contract: Contract) -> Dividing:
        asked = contract.task.conditions.dividing
        return self._policy.dividing if asked is Dividing.AUTO else asked

    def _divisible(self, contract: Contract) -> bool:
        """It waits, and may be divided."""
        if contract.stage not in WAITING or contract.ending is not None:
            return False
        return divisible(contract.task) and self._dividing(contract) is not Dividing.CALLS

    def _outlook(
        self, batch: Sequence[Contract], asked: bool
    ) -> tuple[tuple[NodeId, ...], float, list[tuple[Contract, dict[NodeId, float]]]]:
        """Who takes part; the least work of each slot, in seconds; those of which costs are known, and these."""
        known = [(contract, costs) for contract in batch if (costs := self._known(contract))]
        if asked and not known:
            return tuple(sorted(self._accounts)), 0.0, []
        bidders = {node for _, costs in known for node in costs}.intersection(self._accounts)
        if not bidders:
            return (), 0.0, []
        best = [min(costs.values()) for _, costs in known]
        work_s = math.fsum(best) + (len(batch) - len(best)) * min(best)
        declined = {node for contract in batch for node in contract.declines}
        members = {self._node, *bidders, *(self._accounts.keys() - declined)}  # words may have been lost: all are asked
        if len(members) > MEMBERS_MAX:
            members = {self._node, *bidders}
        slots = sum([self._accounts[node].slots for node in members if node in self._accounts])
        return tuple(sorted(members)), work_s / slots, known

    def _spread(self, known: Sequence[tuple[Contract, dict[NodeId, float]]]) -> float:
        """Of those of whom all have said what they cost, or that they do not take them, who have bid for any."""
        bidders = {node for _, costs in known for node in costs}
        return spread_of(
            [
                costs
                for contract, costs in known
                if contract.task.id in self._lots or bidders <= costs.keys() | contract.declines.keys()
            ]
        )

    def _known(self, contract: Contract) -> dict[NodeId, float]:
        lot = self._lots.get(contract.task.id)
        if lot is not None:
            return lot.costs
        return {node: bid.own_s for node, bid in contract.bids.items()} if contract.stage is Stage.PRICED else {}

    def _open(
        self, batch: list[Contract], members: tuple[NodeId, ...], again: bool, work_s: float, spread: float, now: float
    ) -> list[Effect]:
        self._opened += 1
        self._moved = False
        self._session = session = f"{self._prefix}{self._opened}"
        self._members, self._batch, self._closes_at = members, batch, now + WAIT_S
        self._unplaced = len(batch)
        self._look_at = None
        opened = BatchOpened(
            session=session,
            tasks=tuple([contract.task.id for contract in batch]),
            members=members,
            mode=self._policy.mode,
            again=again,
            work_s=work_s,
            spread=min(spread, 1e9),
        )
        seed = (self._seed + self._opened) & 0xFFFFFFFF
        words = openings(session, members, self._policy, seed, [contract.task for contract in batch])
        return [opened, *[Send(node, word) for word in words for node in members]]

    @property
    def _waits(self) -> bool:
        """Does anything of the batch wait? What comes back to wait after that is called for."""
        while self._unplaced and self._batch[self._unplaced - 1].stage not in WAITING:
            self._unplaced -= 1
        return self._unplaced > 0

    def _give_up(self, reason: str, again_at: float) -> list[Effect]:
        session, members = self._session, self._members
        self._end(again_at)
        told = [Send(node, CloseBatch(session)) for node in members if node in self._accounts]
        return [BatchDropped(session=session, reason=reason), *told]

    def _end(self, again_at: float) -> None:
        self._session, self._members, self._batch = "", (), []
        self._again_at = again_at
        if self._moved:
            self._look_at = again_at

    # -- divided

    def divided(self, told: Divided, now: float) -> None:
        """What still waits goes to the node that its session has named, if that lives."""
        if told.session != self._session:
            return
        batch = self._batch
        self._end(now + AGAIN_S)
        self._drift.clear()
        taken: list[_Lot] = []
        for share in told.shares:
            for number in share.tasks:
                if number >= len(batch) or batch[number].stage not in WAITING:
                    continue
                costs = {
                    node: cost
                    for node, column in told.columns
                    if (cost := column[number]) is not None and node in self._accounts
                }
                if share.node in costs:
                    taken.append(_Lot(batch[number], costs, share.node, told.session))
        self._withdraw([lot.contract for lot in taken])
        line = BatchLine(len(batch), told.certificate)
        for lot in taken:
            lot.contract.auction, lot.contract.batch = told.session, line
            lot.contract.stage = Stage.DIVIDED
            self._lots[lot.contract.task.id] = lot
        lots = {lot.contract.task.id: lot for queue in self._queues.values() for lot in queue if self._stands(lot)}
        lots.update({lot.contract.task.id: lot for lot in taken})
        self._queues = {}
        for lot in lots.values():
            self._queues.setdefault(lot.node, []).append(lot)
        for queue in self._queues.values():
            queue.sort(key=lambda lot: lot.key, reverse=True)

    def _stands(self, lot: _Lot) -> bool:
        """It is the division that counts, and it waits by it."""
        return lot.waits and self._lots.get(lot.contract.task.id) is lot

    def _place(self, lot: _Lot) -> bool:
        """Put it where it would end soonest; False: nobody takes it any more, so it is to be called."""
        nodes = [node for node in lot.costs if node in self._accounts]
        if not nodes:
            del self._lots[lot.contract.task.id]
            return False
        lot.node = min(nodes, key=lambda node: (self._load_s(node) + lot.costs[node], node))
        lot.contract.stage = Stage.DIVIDED
        lot.contract.auction = lot.session
        queue = self._queues.setdefault(lot.node, [])
        queue.append(lot)
        queue.sort(key=lambda one: one.key, reverse=True)
        self._told.append(BatchMoved(session=lot.session, task=lot.contract.task.id, peer=lot.node))
        return True

    def _left(self, node: NodeId) -> list[_Lot]:
        """What waits for this node."""
        return [lot for lot in self._queues.get(node, ()) if self._stands(lot) and lot.node == node]

    def _load_s(self, node: NodeId) -> float:
        """Seconds of work, mean over its slots, that wait here for a node."""
        return math.fsum([lot.costs[node] for lot in self._left(node)]) / max(self._accounts[node].slots, 1)

    # -- awarding

    def next(
        self, outlooks: Mapping[NodeId, Outlook], may_award: Callable[[Contract], bool]
    ) -> Iterator[tuple[Contract, Offer, list[Offer]]]:
        """What would start now or next at the node it was divided to, with all bids; each is taken in `outlooks`."""
        for node, queue in sorted(self._queues.items()):
            outlook = outlooks.get(node)
            if outlook is None:
                continue
            held: list[_Lot] = []
            while queue:
                lot = queue[-1]
                if not self._stands(lot) or lot.node != node:
                    queue.pop()
                    continue
                if not outlook.room(lot.costs[node]):
                    break
                queue.pop()
                if not may_award(lot.contract):
                    held.append(lot)
                    continue
                offers = self._offers(lot, outlooks)
                yield lot.contract, next(offer for offer in offers if offer.node == node), offers
                outlook.take(lot.costs[node])
            queue.extend(reversed(held))

    def _offers(self, lot: _Lot, outlooks: Mapping[NodeId, Outlook]) -> list[Offer]:
        """Its columns as bids."""
        bids = {node: cost for node, cost in sorted(lot.costs.items()) if node in outlooks and node in self._accounts}
        lot.contract.bids = {node: Standing(cost, (QUEUE, ("run", cost)), None) for node, cost in bids.items()}
        lot.contract.declines = {}
        return [
            Offer(node, outlooks[node].ready_s, cost, outlooks[node].free, self._accounts[node].speed)
            for node, cost in bids.items()
        ]

    # -- trade

    def trade(self, outlooks: Mapping[NodeId, Outlook], now: float) -> list[Effect]:
        """Nodes that have run out of tasks meet the one that has most left."""
        if not self._policy.trade or not self.divides:
            return []
        effects: list[Effect] = []
        for node, outlook in outlooks.items():
            if outlook.full or self._left(node) or now < self._tried_at.get(node, -math.inf) + TRY_S:
                continue
            self._tried_at[node] = now
            others = [other for other in sorted(self._queues) if other in outlooks and other != node]
            other = max(others, key=lambda one: self._end_s(one, outlooks), default=None)
            if other is not None and (meeting := self._meet(node, other, outlooks)) is not None:
                effects.append(meeting)
        return effects

    def _end_s(self, node: NodeId, outlooks: Mapping[NodeId, Outlook]) -> float:
        ready = outlooks[node].slots_ready_s
        return math.fsum(ready) / len(ready) + self._pace(node) * self._load_s(node)

    def _pace(self, node: NodeId) -> float:
        """How many times as long as it has said its tasks take, as far as was seen."""
        count, mean = self._drift.get(node, (0, 0.0))
        return math.exp(mean) if count >= OBSERVED_MIN else 1.0

    def _meet(self, one: NodeId, other: NodeId, outlooks: Mapping[NodeId, Outlook]) -> TradeMet | None:
        """Both put what waits for them into one pool, and divide it anew; None: that is no better."""
        lots = [*self._left(one), *self._left(other)]
        if not 0 < len(lots) <= POOL_MAX:
            return None
        first, second = (
            Side(outlooks[node].slots_ready_s, self._pace(node), tuple([lot.costs.get(node) for lot in lots]))
            for node in (one, other)
        )
        firsts = tuple([lot.node == one for lot in lots])
        come_to = met(first, second, firsts)
        if come_to is None:
            return None
        for lot, is_first in zip(lots, come_to.firsts, strict=True):
            lot.node = one if is_first else other
        for node in (one, other):
            mine_now = [lot for lot in lots if lot.node == node]
            self._queues[node] = sorted(mine_now, key=lambda lot: lot.key, reverse=True)
        moved = [lot for lot, was, now in zip(lots, firsts, come_to.firsts, strict=True) if was != now]
        return TradeMet(
            session=lots[0].session,
            one=one,
            other=other,
            tasks=tuple([lot.contract.task.id for lot in moved]),
            to=tuple([lot.node for lot in moved]),
            before_s=come_to.before_s,
            after_s=come_to.after_s,
            pool=tuple([lot.contract.task.id for lot in lots]),
            firsts=firsts,
            ready_s=(first.ready_s, second.ready_s),
            paces=(first.pace, second.pace),
            costs=(first.costs, second.costs),
        )


def spread_of(told: Sequence[Mapping[NodeId, float]]) -> float:
    """How far the times of tasks are from proportional over nodes; infinite where nodes take different tasks."""
    nodes = sorted({node for costs in told for node in costs})
    if any(len(costs) < len(nodes) for costs in told):
        return math.inf
    if len(nodes) < 2 or len(told) < 2:
        return 0.0
    logs = [[math.log(max(costs[node], 1e-9)) for node in nodes] for costs in told]
    of_task = [math.fsum(row) / len(nodes) for row in logs]
    of_node = [math.fsum([row[place] for row in logs]) / len(logs) for place in range(len(nodes))]
    mean = math.fsum(of_task) / len(of_task)
    left = [
        (cost - task - node + mean) ** 2
        for row, task in zip(logs, of_task, strict=True)
        for cost, node in zip(row, of_node, strict=True)
    ]
    return math.sqrt(math.fsum(left) / len(left))


def divisible(task: Task) -> bool:
    """Its time and its slot are all that counts, so that many may be divided by time: it has no deadline, takes nothing
    beside its slot, and may go anywhere that takes it. What else there is goes by the contract net."""
    terms = task.conditions
    return terms.deadline_s is None and not terms.amounts and not terms.gang and task.id == task.origin


def openings(
    session: str, members: tuple[NodeId, ...], policy: Policy, seed: int, tasks: Sequence[Task], *, dry: bool = False
) -> list[OpenBatch]:
    """What the members are told: as many tasks in a piece as one message may hold."""
    pieces: list[list[Task]] = [[]]
    size = 0
    for task in tasks:
        size += told_bytes(task)
        if pieces[-1] and (size > CALL_BYTES_MAX or len(pieces[-1]) == TASKS_PER_CALL_MAX):
            pieces.append([])
            size = told_bytes(task)
        pieces[-1].append(task)
    return [
        OpenBatch(session, members, policy.mode, seed, policy.trade, tuple(piece), number, len(pieces), dry)
        for number, piece in enumerate(pieces)
    ]
