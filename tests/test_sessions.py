"""The member's side of a session by itself; and sessions between real processes, in both modes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from parley.launch.analysis.card import render
from parley.launch.analysis.run import open_run
from parley.launch.analysis.summary import summarise
from parley.launch.analysis.timeline import timeline
from parley.launch.analysis.verify import verify
from parley.launch.analysis.why import why
from parley.launch.bench.batches import matrix, run_in
from parley.protocols.batch_words import BatchColumn, CloseBatch, Mode, OpenBatch, Priced
from parley.protocols.columns import REFUSED, Column, table
from parley.protocols.core import Dividing, NodeId, PeerDown, PeerError, Publish, Task
from parley.protocols.dual_bound import bound_of, trivial_bound, with_bases
from parley.protocols.prices import wanted
from parley.protocols.rounds import Spoken
from parley.protocols.sessions import EARLY_MAX, LIFE_S, SESSIONS_MAX, UNKNOWN_MAX, Sessions


def member(node: NodeId = "n1") -> Sessions:
    return Sessions(node, lambda tasks, initiator, now: Priced(tuple(1.0 for _ in tasks), (0.0,)))


def opening(session: str = "s", piece: int = 0, pieces: int = 1, members: tuple[str, ...] = ("n1", "n2")) -> OpenBatch:
    return OpenBatch(session, members, Mode.ROUNDS, 1, True, (Task(f"t{piece}", "x"),), piece, pieces)


def test_a_session_begins_when_all_pieces_are_there() -> None:
    one = member()
    assert one.receive(opening(piece=1, pieces=2), "n2", 0.0) == ()
    (column,) = one.receive(opening(piece=0, pieces=2), "n2", 0.0)
    assert isinstance(column, BatchColumn)
    assert column.costs == (1.0, 1.0)
    assert one.deadline == 0.0
    assert [type(effect) for effect in one.wake(0.0)] == [Publish]


def test_words_that_come_before_the_session_is_opened_are_kept_for_it() -> None:
    other, one = member("n2"), member("n1")
    other.receive(opening(), "n2", 0.0)
    (said,) = other.wake(0.0)
    assert isinstance(said, Publish)
    assert isinstance(said.message, Spoken)
    assert one.receive(said.message, "n2", 0.0) == ()
    one.receive(opening(), "n2", 0.0)
    assert len(one.wake(0.0)) > 1  # its word closes the first round, and that of the second is said too


def test_what_is_never_opened_here_takes_little_room() -> None:
    one = member()
    for session in range(2 * UNKNOWN_MAX):
        for _ in range(2 * EARLY_MAX):
            one.receive(Spoken(f"s{session}", "n2", 1, 0, (), (), False, b""), "n2", 0.0)
    assert len(one._early) == UNKNOWN_MAX
    assert max(map(len, one._early.values())) == EARLY_MAX
    for session in range(2 * SESSIONS_MAX):
        one.receive(opening(f"s{session}", pieces=2), "n2", 0.0)
    assert len(one._sessions) == SESSIONS_MAX


def test_a_session_is_over_when_its_desk_says_so_or_is_gone_or_it_takes_too_long() -> None:
    one = member()
    one.receive(opening(), "n2", 0.0)
    one.receive(CloseBatch("s"), "n3", 0.0)
    assert one.deadline is not None  # it is not n3's
    one.receive(CloseBatch("s"), "n2", 0.0)
    assert one.deadline is None
    one.receive(opening("u"), "n2", 0.0)
    one.receive(PeerDown("n2"), "n1", 0.0)
    assert one.deadline is None
    one.receive(opening("v"), "n2", 0.0)
    one.wake(LIFE_S)
    assert one.deadline is None


def test_nonsense_is_refused() -> None:
    one = member()
    with pytest.raises(PeerError):
        one.receive(opening(members=("n2", "n3")), "n2", 0.0)
    with pytest.raises(PeerError):
        one.receive(opening(), "n3", 0.0)
    one.receive(opening(), "n2", 0.0)
    with pytest.raises(PeerError):
        one.receive(opening(), "n1", 0.0)


# --- the bound, where nodes have slots, work and refusals ------------------------------------------------------------


def best(costs: list[list[float]], ready: list[tuple[float, ...]]) -> float:
    """The least makespan, by trying every slot for every task."""
    slots = [(row, at) for row, each in enumerate(ready) for at in each]
    least = float("inf")
    used = [False] * len(slots)
    ends = [at for _, at in slots]

    def place(task: int, latest: float) -> None:
        nonlocal least
        if latest >= least:
            return
        if task == len(costs[0]):
            least = latest
            return
        for slot, (row, _) in enumerate(slots):
            if costs[row][task] < REFUSED:
                former = ends[slot], used[slot]
                ends[slot], used[slot] = ends[slot] + costs[row][task], True
                place(task + 1, max(latest, ends[slot]))
                ends[slot], used[slot] = former

    place(0, 0.0)
    return least


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_of_busy_nodes_is_never_above_the_optimum_whatever_the_prices(seed: int) -> None:
    rng = random.Random(seed)
    nodes, tasks = rng.randint(2, 3), rng.randint(2, 5)
    ready = [tuple(rng.choice((0.0, rng.uniform(0.0, 9.0))) for _ in range(rng.randint(1, 2))) for _ in range(nodes)]
    costs = [[rng.uniform(0.5, 5.0) if rng.random() < 0.85 else REFUSED for _ in range(tasks)] for _ in range(nodes)]
    for task in range(tasks):
        if all(row[task] >= REFUSED for row in costs):
            costs[0][task] = 2.0
    known = table({f"n{row}": Column(np.asarray(costs[row]), ready=ready[row]) for row in range(nodes)})
    optimum = best(costs, ready)
    assert trivial_bound(known) <= optimum + 1e-9
    for _ in range(20):
        prices = [rng.uniform(0.0, 1.0) ** 3 for _ in range(nodes)]
        shares = known.shares(wanted(known, prices))
        assert bound_of(prices, with_bases(known, shares), shares, None) <= optimum + 1e-9
    fastest = [min(range(nodes), key=lambda row: costs[row][task]) for task in range(tasks)]
    owners = np.asarray(fastest, dtype=np.intp)
    assert known.makespan(owners) >= optimum - 1e-9


# --- real processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rounds", "gossip"])
async def test_between_processes_a_batch_is_divided_told_and_verified(mode: str, tmp_path: Path) -> None:
    costs = matrix(3, 30, 1, 4.0)  # on a machine that is busy a session takes long, too, and must not outlast the work
    await run_in(tmp_path, costs, Dividing.PRICES, ("--holders=1", f"--mode={mode}"))
    summary = summarise(tmp_path)
    assert (summary.done, summary.lost, summary.committed_twice) == (30, 0, 0)
    batch = summary.batches[0]
    assert batch.members == 3
    assert batch.certificate is not None
    assert batch.certificate < 0.2
    run = open_run(tmp_path)
    [shown, *_] = timeline(tmp_path).batches
    assert (shown.desk, shown.tasks, shown.certificate) == (batch.desk, batch.tasks, batch.certificate)
    assert 0.0 < shown.at_s < timeline(tmp_path).span_s
    told = verify(tmp_path)
    assert told.sound, told.differences[:3]
    assert not told.notes
    of_batch = [line for file in run.files for _, head, line in file.numbered() if head.event == "auction.award"]
    awards = [msgspec.json.decode(line) for line in of_batch]
    divided = next(award["task"] for award in awards if award["rule"] == "prices")
    card = render(why(run, divided), color=False, width=100)
    assert "others by prices, within" in card
    assert "% of the optimum" in card
    _one_changed_number_is_found(tmp_path, 24, ("batch.divided", "batch.column", "price.round", "trade.meet"))
    _one_changed_number_is_found(tmp_path, 8, ("price.round",))


def _one_changed_number_is_found(run: Path, changes: int, events: Sequence[str]) -> None:
    """Wherever it is, of all that was worked out from others, or others were worked out from. Of prices, the first that
    is wrong is named, and not all that came of it."""
    text = {path: path.read_text().splitlines(keepends=True) for path in sorted(run.glob("*.jsonl"))}
    of_batches = [
        (path, number)
        for path, lines in text.items()
        for number, line in enumerate(lines)
        if any(f'"event":"{event}"' in line for event in events)
        or ('"event":"auction.award"' in line and '"rule":"prices"' in line)
    ]
    rng = Random(1)
    for _ in range(changes):
        path, number = rng.choice(of_batches)
        told = json.loads(text[path][number])
        field = _change_one(told, rng)
        path.write_text("".join([*text[path][:number], json.dumps(told) + "\n", *text[path][number + 1 :]]))
        found = verify(run).differences
        assert found, f"{told['event']} {field}"
        if told["event"] == "price.round":
            assert (path.name, number + 1) in [(one.file, one.line) for one in found], field
            assert len(found) < 10, "one number, not an avalanche"
        path.write_text("".join(text[path]))


CLOCKS = {"ts", "mono", "hlc", "v", "seq"}
NOT_WORKED_OUT = CLOCKS | {"epoch", "number", "free", "speed", "seed"}
"""Of no use to this rule."""


def _change_one(told: dict[str, Any], rng: Random) -> str:
    places: list[tuple[Any, Any, str]] = []

    def find(within: Any, name: str) -> None:
        for key, value in list(within.items() if isinstance(within, dict) else enumerate(within)):
            if key in NOT_WORKED_OUT:
                continue
            if isinstance(value, dict | list):
                find(value, f"{name}.{key}")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                places.append((within, key, f"{name}.{key}"))

    find(told, "")
    within, key, name = rng.choice(places)
    within[key] = within[key] * 1.25 + 1 if isinstance(within[key], float) else within[key] + 1
    return name
