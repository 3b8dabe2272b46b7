"""`verify` finds every change of a single value, planted at random: of every rule, and of batches in both modes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from batch_fleet import GOSSIP, PRICES, BatchFleet, unrelated
from simulated_runs import simulated_run, tasks_of, written
from test_analysis_verify import numbers

from parley.launch.analysis.verify import verify
from parley.protocols.award_rules import RULES
from parley.protocols.batches import Policy

PLANTED = 50
OF_CALLS = ("auction.award", "bid.submit", "auction.price", "auction.close", "metric.objective")
OF_BATCHES = ("auction.award", "batch.column", "price.round", "batch.divided", "trade.meet", "metric.objective")
HEADER = frozenset({"ts", "mono", "hlc", "level", "event", "v", "run", "node", "seq", "cause"})


class Planted:
    """The logs of a run, of which one value is another at a time."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._lines = {path: path.read_bytes().splitlines(keepends=True) for path in sorted(run.glob("*.jsonl"))}

    def of(self, events: tuple[str, ...]) -> dict[str, list[tuple[Path, int]]]:
        """Where lines of these events stand, by event."""
        places: dict[str, list[tuple[Path, int]]] = {}
        for path, lines in self._lines.items():
            for number, line in enumerate(lines):
                event = json.loads(line)["event"]
                if event in events:
                    places.setdefault(event, []).append((path, number))
        return places

    def found(self, path: Path, number: int, rng: Random) -> tuple[str, bool]:
        """What was changed in this line, and whether `verify` names it."""
        lines = self._lines[path]
        fields = json.loads(lines[number])
        what = f"{fields['event']} {_change(fields, rng)}"
        path.write_bytes(b"".join([*lines[:number], json.dumps(fields).encode() + b"\n", *lines[number + 1 :]]))
        differences = verify(self.run).differences
        path.write_bytes(b"".join(lines))
        return what, (path.name, number + 1) in {(one.file, one.line) for one in differences}


def _change(fields: dict[str, object], rng: Random) -> str:
    where = rng.choice(list(numbers({key: value for key, value in fields.items() if key not in HEADER})))
    inner: object = fields
    for step in where[:-1]:
        inner = inner[step]  # type: ignore[index]
    was = inner[where[-1]]  # type: ignore[index]
    now = was + rng.choice([-1, 1, 2]) if isinstance(was, int) else was * 1.001 + rng.choice([1e-3, 0.5])
    inner[where[-1]] = now  # type: ignore[index]
    return f"{'.'.join(map(str, where))}: {was!r} -> {now!r}"


def _all_found(run: Path, events: tuple[str, ...], expected: set[str]) -> None:
    assert verify(run).sound
    planted = Planted(run)
    places = planted.of(events)
    assert expected <= places.keys()
    rng = Random(0)
    told = [planted.found(*rng.choice(places[rng.choice(sorted(places))]), rng) for _ in range(PLANTED)]
    assert [what for what, found in told if not found] == []


@pytest.mark.parametrize("rule", list(RULES))
def test_of_every_rule(rule: str, tmp_path: Path) -> None:
    tasks = {"n1": tasks_of(8, rewards=True), "n2": tasks_of(4, rewards=True, prefix="u")}
    run = simulated_run(tmp_path, speeds=(1.0, 2.0, 4.0), tasks=tasks, rule=RULES[rule])
    cried = {"auction.price", "auction.close"} if RULES[rule].form is not None else {"bid.submit"}
    _all_found(run, OF_CALLS, {"auction.award", "metric.objective", *cried})


@pytest.mark.parametrize("policy", [PRICES, GOSSIP], ids=["rounds", "gossip"])
def test_of_batches_in_both_modes(policy: Policy, tmp_path: Path) -> None:
    fleet = BatchFleet(unrelated(4, 32, 3, 4.0), {"n1": [f"t{number}" for number in range(32)]}, policy)
    fleet.takes["n2"] = 3.0  # it is slower than it says, so others take from it
    fleet.run(300.0)
    _all_found(written(fleet, tmp_path), OF_BATCHES, set(OF_BATCHES) - {"price.round"})
