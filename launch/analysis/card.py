"""The card of one task, on one screen: where it stands, each award with all its bids as stacked bars, its history.

    Task 4T9K2M0X7QBD  train
      done on n3 after 412 ms

    Award 1: n3 wins by 105 ms; n1, the runner-up, would have cost 34 % more
      contract-net: the longest task first, to where it ends soonest
              cost ms   ░ queue     █ run
      ▶ n3    310.000   200.000   110.000  ░░░░░░░░░░░░██████
        n1    415.000         0   415.000  ████████████████████████
      run  n3 from 9 like it there, 1.2 times the nominal time
      declined  n2  kind: it does not offer this kind

A bar is as long as the bid is dear, and its parts are the terms of the cost. Lines fit the width; what does not fit is
counted, never dropped in silence. Colour is an argument; without it the signs alone say the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ...protocols.contract_events import BatchLine, BidLine, DeclineLine
from ...protocols.core import State
from ...protocols.performatives import Reason
from .why import UNKNOWN, Award, Loss, Step, Why, where
from .words import BY_COST, REASONS, clean, duration, evidence, listed, rule_words, within

BIDS_SHOWN = 10
AWARDS_SHOWN = 3
STEPS_SHOWN = 30
EVIDENCE_SHOWN = 4
BAR_MIN = 12
BAR_MAX = 60
NAME_MAX = 16

FILLS = "▒▓▚▤▥▞▦▩"
"""For the terms that have no sign of their own, by turns."""
QUEUE_FILL, RUN_FILL = "░", "█"
TINTS = {QUEUE_FILL: "33", RUN_FILL: "32", "▒": "34", "▓": "35", "▚": "36"}
STATE_TINTS: dict[str, str] = {State.DONE: "1;32", State.FAILED: "1;31", State.UNPLACED: "1;31"}
BOLD, DIM, BAD = "1", "2", "31"


def render(why: Why, color: bool, width: int = 80) -> str:
    """The card as text, without a newline at its end."""
    return "\n".join(_Card(why, color, max(width, 40)).lines())


class _Card:
    def __init__(self, why: Why, color: bool, width: int) -> None:
        self._why = why
        self._color = color
        self._width = width

    def lines(self) -> Iterator[str]:
        yield from self._title()
        hidden = self._why.awards[:-AWARDS_SHOWN]
        if hidden:
            yield ""
            winners = listed([award.winner for award in hidden])
            yield from self._wrap(f"Awards 1 to {len(hidden)} came to nothing: {winners}", "")
        for award in self._why.awards[-AWARDS_SHOWN:]:
            yield ""
            yield from self._award(award)
        if not self._why.awards and self._why.unbid:
            yield ""
            yield from self._unbid()
        if self._why.run:
            yield ""
            yield from self._history()
        if self._why.notes:
            yield ""
            yield self._paint("Notes", BOLD)
            for note in self._why.notes:
                yield from self._wrap(note)

    # -- what it is

    def _title(self) -> Iterator[str]:
        why = self._why
        submitted = why.submitted
        yield from self._wrap(f"Task {why.task}" + (f"  {submitted.kind}" if submitted else ""), "", BOLD)
        first, *rest = self._wrap(self._standing())
        yield first.replace(why.state, self._paint(why.state, STATE_TINTS.get(why.state, BOLD)), 1)
        yield from rest
        if submitted:
            at = f"{submitted.at:%Y-%m-%d %H:%M:%S} UTC"
            yield from self._wrap(f"submitted to {submitted.node} by {submitted.client}, {at}")
            work = "unknown" if submitted.work_s is None else f"{duration(submitted.work_s)} at speed 1"
            yield from self._wrap(f"work {work}, argument {submitted.payload_bytes:,} bytes")

    def _standing(self) -> str:
        why = self._why
        if not why.run:
            where = f" on {why.node}" if why.node else ""
            return f"{why.state}{where}" + (f": {why.error}" if why.error else "")
        awards = f", by award {why.awards[-1].epoch}" if len(why.awards) > 1 else ""
        commits = [step.at_s for step in why.history if step.event == "task.commit"]
        after = f" after {duration(commits[0])}" if commits else ""
        match why.state:
            case State.DONE:
                return f"done on {why.node}{after}{awards}"
            case State.FAILED:
                return f"failed on {why.node}{after}{awards}: {why.error}"
            case State.UNPLACED:
                return f"unplaced{after}: {why.error}"
            case State.AWARDED | State.RUNNING:
                return f"{why.state} on {why.node}{awards} when the log ends"
            case State.OPEN:
                return "open: nobody has it when the log ends"
            case _ if commits:
                return f"{why.state}{after}: {why.error}"
            case _ if why.state != UNKNOWN:
                return f"{why.state} when the log ends"
            case _:
                return "unknown: the log of the node that called for it is not here"

    # -- awards

    def _award(self, award: Award) -> Iterator[str]:
        yield from self._wrap(f"Award {award.epoch}: {_verdict(award)}", "", BOLD)
        yield from self._wrap(rule_words(award.rule))
        if award.batch is not None:
            yield from self._wrap(_batch_words(award.batch))
        if award.members:
            yield from self._wrap(f"members  {where(award.members)}; rank 0, on {award.winner}, leads")
        if award.payment is not None:
            most = f", of at most {duration(award.reserve)}" if award.reserve > 0.0 else ""
            yield from self._wrap(f"{award.winner} is paid {duration(award.payment)}{most}")
        yield from self._bids(award)
        yield from self._evidence(award)
        yield from self._absent(award.declines, award.silent)
        for change in award.what_if:
            yield from self._wrap(f"if  {change.text}")
        if award.lost is not None:
            yield from self._wrap(_loss_words(award.lost), tint=BAD)

    def _evidence(self, award: Award) -> Iterator[str]:
        """What the seconds of the runs rest on, where that is more than the task's own words."""
        told = [
            evidence(bid.node, bid.observations, bid.factor)
            for bid in award.bids
            if bid.observations is not None and bid.factor is not None
        ]
        more = len(told) - EVIDENCE_SHOWN
        if told:
            yield from self._wrap("run  " + "; ".join(told[:EVIDENCE_SHOWN]) + (f"; {more} more" if more > 0 else ""))

    def _unbid(self) -> Iterator[str]:
        calls = len(self._why.unbid)
        yield self._paint("Nobody bid" + (f" in {calls} calls; in the last of them:" if calls > 1 else ":"), BOLD)
        yield from self._absent(self._why.unbid[-1].declines, self._why.unbid[-1].silent)

    def _bids(self, award: Award) -> Iterator[str]:
        shown = [bid for bid in award.bids[:BIDS_SHOWN] if bid.node != award.winner]
        shown += [bid for bid in award.bids if bid.node == award.winner]
        shown.sort(key=lambda bid: (bid.cost, bid.node))
        dearest = max((bid.cost for bid in shown), default=0.0)
        unit, scale = ("s", 1.0) if dearest >= 1.0 else ("ms", 1e3)
        fills = _fills(shown)
        heads = [f"{fill} {clean(term)}" for term, fill in fills.items()]
        widths = [max(len(head), 9) + 1 for head in heads]
        names = min(max((len(clean(bid.node)) for bid in shown), default=0), NAME_MAX)
        start = 4 + names + 11
        columns = start + sum(widths) + 2 + BAR_MIN <= self._width
        bar = min(self._width - start - 2 - (sum(widths) if columns else 0), BAR_MAX)
        head = " " * (4 + names) + f"{'cost ' + unit:>11}"
        if columns:
            head += "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
        else:
            head += "  " + "  ".join(heads)
        yield self._paint(_fit(head, self._width), DIM)
        for bid in shown:
            wins = bid.node == award.winner
            text = f"  {'▶' if wins else ' '} {_fit(clean(bid.node), names):<{names}}"
            text += f"{_number(bid.cost * scale):>11}"
            if columns:
                cells = (_number(bid.terms[term] * scale) if term in bid.terms else "" for term in fills)
                text += "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            yield f"{self._paint(text, BOLD) if wins else text}  {self._bar(bid, fills, dearest, bar)}".rstrip()
        if len(award.bids) > len(shown):
            yield f"    and {len(award.bids) - len(shown)} more bids, up to {duration(award.bids[-1].cost)}"

    def _bar(self, bid: BidLine, fills: dict[str, str], dearest: float, cells: int) -> str:
        """Each term from where the one before it ends, so that the whole is as long as the cost."""
        bar, end, total = "", 0, 0.0
        for term, fill in fills.items():
            total += max(bid.terms.get(term, 0.0), 0.0)
            until = min(round(total / dearest * cells), cells) if dearest else 0
            bar += self._paint(fill * (until - end), TINTS.get(fill, ""))
            end = until
        return bar

    def _absent(self, declines: Sequence[DeclineLine], silent: Sequence[str]) -> Iterator[str]:
        """Who did not bid; nodes that say the same stand together."""
        alike: dict[str, list[str]] = {}
        for line in declines:
            words = f"{line.reason}: {line.detail or REASONS[line.reason]}"
            alike.setdefault(words, []).append(line.node)
        for words, nodes in alike.items():
            yield from self._wrap(f"declined  {listed(nodes)}  {words}")
        if silent:
            yield from self._wrap(f"silent  {listed(silent)}", tint=BAD)

    # -- history

    def _history(self) -> Iterator[str]:
        steps = self._why.history
        yield self._paint("History", BOLD)
        if not steps:
            yield "  nothing is known of it"
            return
        unit, scale, digits = ("ms", 1e3, 2) if steps[-1].at_s < 1.0 else ("s", 1.0, 3)
        names = min(max(len(clean(step.node)) for step in steps), NAME_MAX)
        early = steps[: STEPS_SHOWN // 2] if len(steps) > STEPS_SHOWN else steps
        late = steps[-(STEPS_SHOWN // 2) :] if len(steps) > STEPS_SHOWN else ()
        for step in early:
            yield from self._step(step, f"{step.at_s * scale:+.{digits}f} {unit}", names)
        if late:
            yield f"  ... {len(steps) - len(early) - len(late)} more ..."
        for step in late:
            yield from self._step(step, f"{step.at_s * scale:+.{digits}f} {unit}", names)

    def _step(self, step: Step, at: str, names: int) -> Iterator[str]:
        margin = f"  {at:>11}  {_fit(clean(step.node), names):<{names}}  "
        tint = BAD if step.event in ("task.lost", "peer.state") else ""
        yield from self._wrap(step.text, margin, tint, " " * len(margin))

    # -- lines

    def _wrap(self, text: str, margin: str = "  ", tint: str = "", hanging: str | None = None) -> list[str]:
        """At most three lines, the first behind `margin`, the others behind `hanging`."""
        lines = textwrap.wrap(
            clean(text),
            self._width,
            initial_indent=margin,
            subsequent_indent=f"{margin}  " if hanging is None else hanging,
            max_lines=3,
            placeholder=" …",
        )
        return [self._paint(line, tint) for line in lines]

    def _paint(self, text: str, tint: str) -> str:
        return f"\x1b[{tint}m{text}\x1b[0m" if self._color and tint and text else text


def _verdict(award: Award) -> str:
    """Who won and by how much, in words."""
    if award.members:
        nodes = len(set(award.members))
        return f"a gang of {len(award.members)} on {'1 node' if nodes == 1 else f'{nodes} nodes'}; {award.winner} leads"
    winner, second, margin = award.winner, award.runner_up, award.margin
    if second is None or margin is None:
        return f"{winner} wins, the only one to bid"
    if margin == 0.0:
        settled = "the first by name wins" if award.rule in BY_COST else "the rule chose"
        return f"{winner} and {second} tie at {duration(award.cost)}: {settled}"
    if margin < 0.0:
        return f"{winner} wins, though {second} would have cost {duration(-margin)} less: this rule looks elsewhere"
    more = f"{margin / award.cost:.0%}".replace("%", " %") if award.cost > 0.0 else duration(margin)
    return f"{winner} wins by {duration(margin)}; {second}, the runner-up, would have cost {more} more"


def _batch_words(batch: BatchLine) -> str:
    """How good the division is that it stands on."""
    near = "" if batch.certificate is None else f", {within(batch.certificate)}"
    return f"divided with {batch.tasks - 1} others by prices{near}"


def _loss_words(lost: Loss) -> str:
    """Why it came to nothing."""
    reason = f"{lost.reason}, {REASONS[Reason(lost.reason)]}"
    ran = "not started there" if lost.heard else "whether it started there, no line here tells"
    if lost.ran_s is not None:
        ran = f"started there {duration(lost.ran_s)} before"
    return f"lost  after {duration(lost.after_s)}: {reason}; {ran}; offered again"


def _fills(bids: Sequence[BidLine]) -> dict[str, str]:
    """A sign for each term, in the order in which terms are named."""
    fills: dict[str, str] = {}
    others = 0
    for bid in bids:
        for term in bid.terms:
            if term in fills:
                continue
            if term in ("queue", "run"):
                fills[term] = QUEUE_FILL if term == "queue" else RUN_FILL
            else:
                fills[term] = FILLS[others % len(FILLS)]
                others += 1
    return fills


def _number(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.3f}" if value < 1e4 else f"{value:.0f}"


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
