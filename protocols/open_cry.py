"""Tasks that are sold in the open: from a contract that waits to an auction, and from its end to an award or a decline.

The initiator (contract_net.py) calls for proposals, or, under a rule with a `form`, hands what has a reserve price to
the auctioneer of its node (auctions.py). Both ends of this bridge are local messages.

    contract waits -> Sell(auction, task, lot, bidders) -> auctioneer ... KnockedDown(winner, price) -> award at once
                                                                          KnockedDown(nobody, declines) -> as unbid

Tasks are sold one after the other: the award is on its way before the next price is called, so whoever has won counts
it. A bidder bids only if it could start the task now or next, so there is nothing to plan: a bid at a price binds.

Invariant: at most one auction of an initiator runs; what is knocked down counts for the contract it was about, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .auctions import KnockedDown, Lot, Sell
from .award_rules import Form, Rule
from .contract import QUEUE, Contract, Stage, Standing
from .core import Effect, NodeId, Send

PRICES = 20
"""Into so many steps the reserve is divided."""


class OpenCry:
    """What of an initiator's tasks is sold in the open."""

    def __init__(self, node: NodeId, prefix: str, rule: Rule) -> None:
        self._node = node
        self._prefix = f"{prefix}c"
        self._rule = rule
        self._begun = 0
        self._waiting: list[Contract] = []
        self._running: Contract | None = None

    def sells(self, contract: Contract) -> bool:
        """Has it a reserve price, under a rule that sells in the open? Gangs, which several have, are not sold."""
        return self._rule.form is not None and contract.task.conditions.reward > 0.0 and not contract.task.gang

    def add(self, contract: Contract) -> None:
        """To be sold, or sold again."""
        contract.stage = Stage.UNCALLED
        self._waiting.append(contract)

    @property
    def waiting(self) -> int:
        """About how many wait for their auction."""
        return len(self._waiting)

    def sell_next(
        self, bidders: Sequence[NodeId], now: float, may_award: Callable[[Contract], bool] = lambda contract: True
    ) -> list[Effect]:
        """Open the next auction, in the rule's order, of what may be awarded, if none is running."""
        self._waiting = [contract for contract in self._waiting if contract.stage is Stage.UNCALLED]
        for_sale = [contract for contract in self._waiting if may_award(contract)] if self._running is None else []
        if not for_sale or not bidders:
            return []
        contract = self._running = min(for_sale)
        contract.call()
        self._begun += 1
        contract.auction = f"{self._prefix}{self._begun}"
        assert self._rule.form is not None
        lot = lot_of(self._rule.form, contract.task.conditions.reward)
        return [Send(self._node, Sell(contract.auction, contract.asked(now), lot, tuple(bidders)))]

    def knocked_down(self, end: KnockedDown) -> Contract | None:
        """The contract, with what was bid or declined in it; None: it has ended meanwhile."""
        contract, self._running = self._running, None
        if contract is None or contract.stage is not Stage.CALLED:
            return None
        contract.silent = end.silent
        for node, decline in end.declines:
            contract.decline(node, decline)
        if end.winner is not None and end.price is not None:
            contract.bids[end.winner] = Standing(end.price, (QUEUE, ("price", end.price)), None)
        return contract


def lot_of(form: Form, reserve: float) -> Lot:
    """The prices that are called for a task of this reserve."""
    step = reserve / PRICES
    return Lot(form, reserve if form.falls else step, step, reserve)
