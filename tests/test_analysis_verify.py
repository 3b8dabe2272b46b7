"""`verify`: untouched logs of every rule are accepted, and one changed number in one line is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from batch_fleet import PRICES, BatchFleet, unrelated
from local_fleets import parley
from simulated_runs import simulated_run, tasks_of, written
from test_analysis_run import append, award, submit, write_run

from parley.launch.analysis.verify import Verdict, verify
from parley.protocols.award_rules import RULES
from parley.protocols.batch_words import PriceRound
from parley.transport.faults import Crash, Faults, Pause

PLANTED = 50
LOSSY = Faults(loss=0.05, late=0.02, crashes=(Crash("n4", 1.25),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two initiators, two slots each, one node killed, words lost."""
    tasks = {"n1": tasks_of(30), "n3": tasks_of(20, prefix="u")}
    return simulated_run(tmp_path_factory.mktemp("run"), tasks=tasks, slots=2, faults=LOSSY)


@pytest.mark.parametrize("rewards", [False, True])
@pytest.mark.parametrize("rule", list(RULES))
def test_untouched_logs_of_every_rule_are_accepted(rule: str, rewards: bool, tmp_path: Path) -> None:
    tasks = {"n1": tasks_of(16, rewards=rewards), "n2": tasks_of(8, rewards=rewards, prefix="u")}
    verdict = verify(simulated_run(tmp_path, tasks=tasks, rule=RULES[rule]))
    assert (verdict.differences, verdict.gaps, verdict.notes) == ((), (), ())
    assert verdict.awards >= 24
    assert verdict.checked > 1.5 * verdict.awards


def test_a_run_with_a_death_and_lost_words_is_accepted(run: Path) -> None:
    verdict = verify(run)
    assert verdict.sound, verdict.differences
    assert verdict.awards > 50


# --- what is planted is found ----------------------------------------------------------------------------------------


class Lines:
    """A run's lines, one of which is changed at a time."""

    def __init__(self, run: Path, copy: Path) -> None:
        self.copy = copy
        self.lines = {path.name: path.read_bytes().splitlines() for path in sorted(run.glob("*.jsonl"))}
        shutil.copytree(run, copy)

    def of(self, *events: str) -> list[tuple[str, int]]:
        words = [f'"event":"{event}"'.encode() for event in events]
        return [
            (name, number)
            for name, lines in self.lines.items()
            for number, line in enumerate(lines)
            if any(word in line for word in words)
        ]

    def verdict(self, name: str, number: int, line: bytes | None) -> Verdict:
        """With this line instead; None: without it."""
        changed = list(self.lines[name])
        changed[number : number + 1] = [] if line is None else [line]
        path = self.copy / name
        path.write_bytes(b"\n".join(changed) + b"\n")
        try:
            return verify(self.copy)
        finally:
            path.write_bytes(b"\n".join(self.lines[name]) + b"\n")


@pytest.fixture
def lines(run: Path, tmp_path: Path) -> Lines:
    return Lines(run, tmp_path / "copy")


def numbers(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the numbers of a line stand, those of its header left out."""
    match value:
        case bool():
            return
        case int() | float():
            yield path
        case dict():
            for key, each in value.items():
                if path or key not in ("mono", "hlc", "v", "seq"):
                    yield from numbers(each, (*path, key))
        case list():
            for place, each in enumerate(value):
                yield from numbers(each, (*path, place))


def changed(line: bytes, rng: Random) -> tuple[bytes, str]:
    fields = json.loads(line)
    *path, last = rng.choice(list(numbers(fields)))
    inner = fields
    for step in path:
        inner = inner[step]
    old = inner[last]
    inner[last] = old + rng.choice([-1, 1, 2]) if isinstance(old, int) else old * 1.0001 + rng.choice([1e-9, 0.5])
    return json.dumps(fields, separators=(",", ":")).encode(), ".".join(map(str, [*path, last]))


@pytest.mark.parametrize("seed", range(PLANTED))
def test_one_changed_number_in_an_award_or_a_bid_is_found_and_named(seed: int, lines: Lines) -> None:
    rng = Random(seed)
    name, number = rng.choice(lines.of("auction.award", "bid.submit"))
    line, field = changed(lines.lines[name][number], rng)
    verdict = lines.verdict(name, number, line)
    assert (name, number + 1) in {(one.file, one.line) for one in verdict.differences}, field
    assert len(verdict.differences) < 10, "one number, not an avalanche"


@pytest.mark.parametrize("field", ["winner", "runner_up", "task", "auction", "rule"])
@pytest.mark.parametrize("seed", range(2))
def test_a_changed_name_in_an_award_is_found(field: str, seed: int, lines: Lines) -> None:
    rng = Random(seed)
    name, number = rng.choice(lines.of("auction.award"))
    fields = json.loads(lines.lines[name][number])
    fields[field] = {"winner": "n9", "runner_up": "n9", "rule": "random"}.get(field, f"{fields[field]}0")
    verdict = lines.verdict(name, number, json.dumps(fields, separators=(",", ":")).encode())
    assert verdict.differences


@pytest.mark.parametrize("seed", range(6))
def test_a_plan_in_another_order_is_found(seed: int, lines: Lines) -> None:
    rng = Random(seed)
    several = [(n, i) for n, i in lines.of("auction.plan") if lines.lines[n][i].count(b'"own_s"') > 1]
    name, number = rng.choice(several)
    fields = json.loads(lines.lines[name][number])
    fields["steps"].reverse()
    verdict = lines.verdict(name, number, json.dumps(fields, separators=(",", ":")).encode())
    assert (name, number + 1) in {(one.file, one.line) for one in verdict.differences}


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_is_gone_is_a_gap(seed: int, lines: Lines) -> None:
    rng = Random(seed)
    name, number = rng.choice(lines.of("auction.award", "bid.submit", "auction.plan", "task.accept"))
    if number + 1 == len(lines.lines[name]):
        number -= 1
    verdict = lines.verdict(name, number, None)
    [gap] = verdict.gaps
    assert (gap.file, gap.line, gap.first, gap.last) == (name, number + 1, number + 1, number + 1)
    assert verdict.differences == ()


def test_a_line_of_another_form_is_named(lines: Lines) -> None:
    name, number = lines.of("bid.submit")[0]
    line = lines.lines[name][number].replace(b'"cost":', b'"cost":"much","was":')
    verdict = lines.verdict(name, number, line)
    assert (verdict.differences[0].line, verdict.differences[0].field) == (number + 1, "the line")


def test_a_price_that_was_not_called_is_found(tmp_path: Path) -> None:
    tasks = {"n1": tasks_of(6, rewards=True)}
    lines = Lines(simulated_run(tmp_path / "run", tasks=tasks, rule=RULES["english"]), tmp_path / "copy")
    name, number = lines.of("auction.close")[0]
    fields = json.loads(lines.lines[name][number])
    fields["price"] += 0.25
    verdict = lines.verdict(name, number, json.dumps(fields, separators=(",", ":")).encode())
    assert (name, number + 1) in {(one.file, one.line) for one in verdict.differences}


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("metric.objective", ("nodes", 0, "slots"), 10**9),
        ("metric.objective", ("nodes", 0, "speed"), 0.0),
        ("metric.objective", ("nodes",), []),
        ("metric.objective", ("makespan_s",), 1e300),
        ("task.commit", ("seconds",), -1.0),
        ("task.commit", ("seconds",), 1e308),
    ],
)
def test_no_number_in_a_log_brings_it_down(
    event: str, field: tuple[str | int, ...], value: object, lines: Lines
) -> None:
    name, number = lines.of(event)[-1]
    fields = json.loads(lines.lines[name][number])
    *path, last = field
    inner = fields
    for step in path:
        inner = inner[step]
    inner[last] = value
    verdict = lines.verdict(name, number, json.dumps(fields, separators=(",", ":")).encode())
    assert any(one.file == name for one in verdict.differences)


# --- what cannot be compared -----------------------------------------------------------------------------------------


def test_without_the_log_of_a_node_its_bids_are_noted_not_wrong(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy/n2.jsonl").unlink()
    verdict = verify(tmp_path / "copy")
    assert verdict.differences == ()
    assert any("bids that were not compared" in note for note in verdict.notes)


def test_logs_of_an_older_parley_have_no_plans(tmp_path: Path) -> None:
    verdict = verify(write_run(tmp_path, [submit(0, "A1"), award(1, "A1")]))
    assert any("awards of an older Parley" in note for note in verdict.notes)


def test_what_a_node_did_before_it_was_killed_and_started_again_may_be_lost(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    path = tmp_path / "copy/n2.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    bids = [number for number, line in enumerate(lines) if b'"event":"bid.submit"' in line]
    kept = lines[: bids[len(bids) // 2]]
    start, last = json.loads(lines[0]), json.loads(lines[-1])
    again = json.dumps({**start, "hlc": last["hlc"] + 1}).encode() + b"\n"
    load = {"event": "node.load", "slots": 2, "running": 0, "waiting": 0, "queued_s": 0.0, "seq": 2}
    later = json.dumps({**start, **load, "hlc": last["hlc"] + 2}).encode() + b"\n"
    path.write_bytes(b"".join([*kept, again, later]))
    verdict = verify(tmp_path / "copy")
    assert verdict.sound, verdict.differences
    assert any("bids that were not compared" in note for note in verdict.notes)
    stop = json.dumps({**last, "event": "node.stop", "reason": "stopped", "seq": len(kept) + 1}).encode() + b"\n"
    path.write_bytes(b"".join([*kept, stop, again, later]))
    assert not verify(tmp_path / "copy").sound, "a node that ended in order has told all"


def test_whoever_hears_a_call_may_bid_and_two_may_award_epochs_of_one_number(tmp_path: Path) -> None:
    called = '{"auction":"n1.0.1","tasks":["A1"],"invitees":["n1"],"reply_by_s":0.25}'
    bid = '{"auction":"n1.0.1","task":"A1","peer":"%s","cost":1.0,"terms":{"run":1.0}}'
    story = [submit(0, "A1")]
    for caller in ("n1", "n3"):
        story += [f"1 {caller} auction.open {called}", f"2 n2 bid.submit {bid % caller}"]
    story += [award(3, "A1"), award(3, "A1").replace("n1", "n3", 1)]
    verdict = verify(write_run(tmp_path, story))
    assert (verdict.differences, verdict.awards) == ((), 2)


def test_who_has_opened_an_epoch_may_award_it_though_it_is_overtaken_and_nobody_begins_it(tmp_path: Path) -> None:
    called = '{"auction":"n1.0.1","tasks":["A1"],"invitees":["n1"],"reply_by_s":0.25}'
    bid = '{"auction":"n1.0.1","task":"A1","peer":"n1","cost":1.0,"terms":{"run":1.0}}'
    committed = '{"task":"A1","epoch":3,"state":"done","peer":"n2","attempts":1,"detail":""}'
    story = [submit(0, "A1"), f"1 n1 auction.open {called}", f"2 n2 bid.submit {bid}", award(3, "A1", epoch=2)]
    ends = [f"4 n2 task.commit {committed}", '5 n1 node.stop {"reason":"x"}', '5 n2 node.stop {"reason":"x"}']
    wrong = verify(write_run(tmp_path / "wrong", [*story, *ends]))
    assert [(one.field, one.logged) for one in wrong.differences] == [("epoch", 2)]
    opened = '0 n1 epoch.open {"task":"A1","epoch":2,"reason":"orphan"}'
    assert verify(write_run(tmp_path / "right", [*story[:1], opened, *story[1:], *ends])).differences == ()


def test_a_round_of_prices_that_was_heard_again_is_told_again(tmp_path: Path) -> None:
    """Two members stand still while prices open: the others hear the first round once more, without or with them."""
    still = Faults(pauses=(Pause("n3", 0.6, 2.6), Pause("n2", 0.9, 2.5)))
    handed = {"n1": [f"t{number}" for number in range(40)]}
    fleet = BatchFleet(unrelated(5, 40, 3, 4.0), handed, PRICES, faults=still)
    fleet.run(300.0)
    rounds = [(node, event.session, event.round) for _, node, event in fleet.wire.events if type(event) is PriceRound]
    assert len(rounds) > len(set(rounds))
    verdict = verify(written(fleet, tmp_path))
    assert verdict.sound, verdict.differences


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_differs_and_ends_with_5(lines: Lines) -> None:
    done = parley("verify", str(lines.copy))
    assert done.stdout.endswith("awards among them: all as logged\n")
    name, number = lines.of("auction.award")[3]
    fields = json.loads(lines.lines[name][number])
    fields["cost"] += 0.5
    path = lines.copy / name
    path.write_bytes(path.read_bytes().replace(lines.lines[name][number], json.dumps(fields).encode()))
    found = parley("verify", str(lines.copy))
    assert found.returncode == 5
    assert found.stdout.startswith(f"{name}:{number + 1}: cost is {fields['cost']!r}, recomputed ")
    told = parley("verify", str(lines.copy), "--json")
    assert told.returncode == 5
    verdict = msgspec.json.decode(told.stdout)
    assert verdict.keys() >= {"events", "awards", "checked", "differences", "gaps"}
    assert verdict["differences"][0].keys() == {"file", "line", "field", "logged", "recomputed"}


def test_a_torn_last_line_is_no_difference(lines: Lines) -> None:
    append(lines.copy / "n4.jsonl", b'{"event":"bid.su')
    verdict = verify(lines.copy)
    assert verdict.sound
    assert "n4.jsonl ends within a line: its node was killed, or writes still" in verdict.notes
