"""What agents say to each other where nobody calls: assignment, bundles, gossip, trade and batches by gossip, as golden
transcripts. They are written anew only when PARLEY_WRITE_TRANSCRIPTS is set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from consensus_world import agents_of, persons_of, tenderers_of
from session_world import SESSION, Rememberer
from tables import columns, small_table

from parley.protocols.assignment import Standings, scaled
from parley.protocols.batch import Terms
from parley.protocols.batch_gossip import BatchByGossip, Mark
from parley.protocols.cbba import Winning
from parley.protocols.core import NodeId, Send
from parley.protocols.gossip import Exchange, Gossip
from parley.protocols.meeting import Side, met
from parley.protocols.scores import Additive
from parley.protocols.tenders import Tenders
from parley.protocols.trading import Market, trading
from parley.protocols.trading import tasks_of as unpacked

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def same(name: str, lines: Sequence[str]) -> None:
    golden = TRANSCRIPTS / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if "PARLEY_WRITE_TRANSCRIPTS" in os.environ:
        golden.write_text(text)
    assert text == golden.read_text()


def test_three_persons_bid_until_each_has_an_object() -> None:
    costs = [[7, 3, 5], [4, 2, 6], [3, 3, 9]]
    persons = persons_of(costs, scaled(3, 9))
    lines = [f"{node}: costs {row}" for node, row in zip(persons, costs, strict=True)]
    turn = 0
    while not all(person.done for person in persons.values()):
        turn += 1
        said = {node: person.speak(turn) for node, person in persons.items()}
        lines += [f"round {turn}  {node} -> all: {_stands(words)}" for node, words in said.items()]
        for node, person in persons.items():
            for other, words in said.items():
                if other != node:
                    person.hear(words, other)
    lines += [f"{node} has object {person.object}" for node, person in persons.items()]
    same("assignment_three_persons", lines)


def _stands(words: Standings) -> str:
    lines = words.standings
    told = [f"object {place} is n{owner:03}'s at {price}, phase {phase}" for place, phase, price, owner in lines]
    return "; ".join(told) or "nothing new"


def test_persons_tender_and_begin_anew_without_one_that_dies() -> None:
    """All want the same four objects, so one must tell of more; n005 dies before the end."""
    costs = [[1, 2, 3, 4, 20, 30], [1, 2, 3, 4, 9, 30], [2, 1, 3, 4, 30, 8], [4, 1, 3, 2, 9, 8], [4, 3, 2, 1, 20, 9]]
    costs.append([1, 3, 2, 4, 10, 10])
    persons = tenderers_of(costs, relays=False)
    lines = [f"{node}: costs {row}" for node, row in zip(persons, costs, strict=True)]
    turn = 0
    while not all(person.done for person in persons.values()):
        turn += 1
        said = {node: person.speak(turn) for node, person in persons.items()}
        lines += [f"round {turn}  {node} -> all: {_tenders(words)}" for node, words in said.items()]
        if turn == 3:
            del persons["n005"], said["n005"]
            for person in persons.values():
                person.gone("n005")
            lines.append("n005 has died")
        for node, person in persons.items():
            for other, words in said.items():
                if other != node:
                    person.hear(words, other)
    lines += [f"{node} has object {person.object}, of costs {person.told} told" for node, person in persons.items()]
    same("tenders_five_of_six_persons", lines)


def _tenders(words: Tenders) -> str:
    pairs = zip(words.objects, words.costs, strict=True)
    each = [f"{place} at {cost}" for place, cost in pairs]
    told, begin = [], 0
    for level, _, count in words.words:
        told.append(f"level {level}: {', '.join(each[begin : begin + count]) or 'nothing more'}")
        begin += count
    without = "".join(f", without n{place:03}" for place in words.view)
    return "; ".join(told) + without


def test_three_agents_on_a_line_agree_on_their_bundles() -> None:
    """n000 and n002 hear each other through n001 only; both want task 0."""
    worths = [[9.0, 4.0, 1.0], [3.0, 5.0, 2.0], [8.0, 6.0, 7.0]]
    agents = agents_of([Additive(row) for row in worths], 3, 2)
    line = {"n000": ["n001"], "n001": ["n000", "n002"], "n002": ["n001"]}
    lines = [f"{node}: worths {row}, room for 2" for node, row in zip(agents, worths, strict=True)]
    turn = 0
    while not all(agent.done for agent in agents.values()):
        turn += 1
        said = {node: agent.speak(turn) for node, agent in agents.items()}
        lines += [f"round {turn}  {node} -> {', '.join(line[node])}: {_wins(said[node])}" for node in agents]
        for node, agent in agents.items():
            for other in line[node]:
                agent.hear(said[other], other)
    lines += [f"{node} has {agent.bundle}" for node, agent in agents.items()]
    same("cbba_three_on_a_line", lines)


def _wins(words: Winning) -> str:
    told = [
        f"{task}: n{winner:03} for {bid:g}" if winner >= 0 else f"{task}: nobody"
        for task, (winner, bid) in enumerate(zip(words.winners, words.bids, strict=True))
    ]
    return ", ".join(told) + (" (the last word)" if words.last else "")


class Twice(Rememberer):
    """Says something new twice, and then no more."""

    def say(self) -> bytes:
        return f"{self.node}{min(len(self.history), 2)}".encode()


def gossiping(drivers: Mapping[NodeId, Gossip], word: type[Mark] | None) -> Iterator[str]:
    """Periods in step, and every exchange answered at once."""
    period = 0
    while not all(driver.finished for driver in drivers.values()):
        period += 1
        queue = [(node, effect) for node, driver in drivers.items() for effect in driver.wake(float(period))]
        while queue:
            (sender, effect), *queue = queue
            if isinstance(effect, Send) and isinstance(effect.message, Exchange):
                yield f"period {period}  {sender} -> {effect.to}: {_exchange(effect.message, word)}"
                more = drivers[effect.to].receive(effect.message, sender, float(period))
                queue += [(effect.to, one) for one in more]


def _exchange(exchange: Exchange, word: type[Mark] | None) -> str:
    rows = ", ".join(f"{row.node} {row.version % 2**24}" for row in exchange.rows) or "nothing"
    told = [
        f"{rumour.node} says {_mark(rumour.word) if word else rumour.word.decode()}{' (settled)' * rumour.settled}"
        for rumour in exchange.rumours
    ]
    kind = "answer" if exchange.answer else "meets"
    return f"{kind}, knows {rows}" + (f"; {'; '.join(told)}" if told else "") + ("; ended" if exchange.ended else "")


def _mark(word: bytes) -> str:
    mark = msgspec.msgpack.decode(word, type=Mark)
    stand = mark.stand
    holds = "" if stand is None else f", holds {unpacked(stand.tasks, 99).tolist()} in version {stand.version}"
    return f"price {mark.price:.4f} of step {mark.step}, bound {mark.bound:.4f}{holds}"


def test_two_gossip_until_both_know_that_both_know_the_same() -> None:
    drivers = {node: Gossip(SESSION, node, ["a", "b"], Twice(node, 2), Random(node), periods_max=50) for node in "ab"}
    same("gossip_two", list(gossiping(drivers, None)))
    assert all(driver.agreed for driver in drivers.values())


def test_two_divide_a_batch_by_gossip() -> None:
    known = small_table(11, limited=False, nodes=2, tasks=3)
    drivers: dict[NodeId, Gossip] = {}
    for node, column in columns(known).items():
        player = BatchByGossip(node, column, Terms(price_rounds=3))
        random = Random(node)
        drivers[node] = Gossip(SESSION, node, known.nodes, player, random, opening=player.opening, periods_max=50)
    lines = [f"{node}: costs {column.costs.tolist()}" for node, column in columns(known).items()]
    lines += list(gossiping(drivers, Mark))
    division = drivers["n0"].player.division  # type: ignore[attr-defined]
    lines.append(f"makespan {division.value:g}, certificate {100 * division.certificate:.2f} %")
    same("batch_gossip", lines)


def test_three_trade_until_no_pair_can_do_better() -> None:
    """All is n0's at the beginning."""
    known = small_table(5, limited=False, nodes=3, tasks=6)
    market = Market(known, known.sizes, 0.0, (0.0, 0.0, 0.0))
    owners = np.zeros(known.tasks, np.intp)
    states = {node: trading(market, node, owners, turns=8, seed=1) for node in known.nodes}
    lines = [f"{node}: costs {row.tolist()}" for node, row in zip(known.nodes, known.costs, strict=True)]
    turn = 0
    while not any(state.over for state in states.values()):
        turn += 1
        pairs = [" with ".join(pair) for pair in states["n0"].meeting]
        largest = states["n0"].best_value[1]
        lines.append(f"turn {turn}  meet: {', '.join(pairs) or 'nobody'}; largest load so far {largest:g}")
        said = {node: state.holding for node, state in states.items()}
        lines += [
            f"        {node} -> all: version {word.version}, holds {unpacked(word.tasks, known.tasks).tolist()}"
            for node, word in said.items()
        ]
        states = {node: state.hear(said) for node, state in states.items()}
    lines.append(f"over: largest load {states['n0'].best_value[1]:g}")
    same("trade_three", lines)


def test_two_meet_about_what_they_have_not_started() -> None:
    first, second = Side((1.0,), 1.0, (4.0, 3.0, 2.0)), Side((0.0,), 1.5, (2.0, 3.0, None))
    come_to = met(first, second, (True, True, True))
    assert come_to is not None
    same(
        "trade_meeting",
        [
            "n1: free in 1 s, costs 4, 3, 2, takes as long as it says; has all three",
            "n2: free now, costs 2, 3, refused, takes 1.5 times as long as it says; has none",
            *[f"task {task} is {'n1' if mine else 'n2'}'s" for task, mine in enumerate(come_to.firsts)],
            f"the larger load was {max(come_to.before_s):g} s and is {max(come_to.after_s):g} s",
        ],
    )
