"""The report of a run: what is in it, that it holds whatever is in the logs, and that it works in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from batch_fleet import PRICES, BatchFleet, unrelated
from browser import CHROMIUM, Browser, browser
from simulated_runs import simulated_run, tasks_of, written
from test_analysis_run import award, submit, write_run
from test_analysis_timeline import KILLED

from parley.launch.analysis import command
from parley.launch.analysis.figures import figures, knew
from parley.launch.analysis.report import columns, report, telling
from parley.launch.analysis.run import RunError, open_run
from parley.launch.analysis.timeline import timeline
from parley.launch.analysis.why import why
from parley.transport.faults import Crash, Faults


def held(page: bytes, name: str) -> Any:
    """What is packed into the page under this name."""
    text = re.search(rb'<script type="text/plain" id="' + name.encode() + rb'">([^<]*)</script>', page)
    assert text is not None
    return json.loads(gzip.decompress(base64.b64decode(text[1])))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a node dies."""
    faults = Faults(crashes=(Crash("n4", 1.25, noticed=True),))
    return simulated_run(tmp_path_factory.mktemp("run"), tasks={"n1": tasks_of(40)}, slots=2, faults=faults)


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a batch is divided; a node is slower than it said, so that others take over what waits for it."""
    fleet = BatchFleet(unrelated(4, 80, 3), {"n1": [f"t{number}" for number in range(80)]}, PRICES)
    fleet.takes["n2"] = 3.0
    fleet.run(300.0)
    return written(fleet, tmp_path_factory.mktemp("divided"))


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_the_columns_tell_every_task_and_attempt(tmp_path: Path) -> None:
    told: Any = json.loads(msgspec.json.encode(columns(timeline(write_run(tmp_path, KILLED)))))
    assert told["tasks"]["id"] == ["A1", "B1"]
    assert told["tasks"]["state"] == ["done", "done"]
    assert [told["names"][node] for node in told["tasks"]["node"]] == ["n2", "n1"]
    assert (told["tasks"]["lost"], told["tasks"]["attempts"]) == ([0, 1], [1, 2])
    assert told["attempts"]["start"] == [30_000, 30_000, 75_000]
    assert [told["reasons"][place] for place in told["attempts"]["reason"]] == ["", "cut", ""]
    assert (told["work"], told["span"]) == ([30_000, 90_000], 100_000)
    assert [(node["killed"], node["stopped"], node["slots"]) for node in told["nodes"]] == [
        (None, 100_000, 1),
        (60_000, None, 2),
    ]
    assert told["matrix"]["wins"] == [[0, 1], [0, 1], [1, 0]]


def test_who_ran_a_task_and_who_came_second_is_told_though_no_log_of_them_is_here(tmp_path: Path) -> None:
    bid = '{"node":"n%d","cost":%d.0,"terms":{"run":%d.0},"free":1,"speed":1.0}'
    bids = ",".join(bid % (number, cost, cost) for number, cost in ((2, 1), (3, 2)))
    story = [
        submit(0, "A1"),
        '1 n1 auction.award {"auction":"a","task":"A1","epoch":1,"winner":"n2","cost":1.0,"runner_up":"n3",'
        '"margin":1.0,'
        f'"rule":"contract-net","seed":0,"bids":[{bids}],"declines":[],"silent":[]}}',
        '2 n1 task.commit {"task":"A1","epoch":1,"state":"done","peer":"n2","attempts":1,"detail":""}',
    ]
    told: Any = json.loads(msgspec.json.encode(columns(timeline(write_run(tmp_path, story)))))
    tasks = told["tasks"]
    assert [node["name"] for node in told["nodes"]] == ["n1"]
    assert [told["names"][place] for place in (*tasks["node"], *tasks["second"])] == ["n2", "n3"]


def test_figures_are_those_of_the_objective_functions(tmp_path: Path) -> None:
    took = {'"epoch":1,"seconds":1.0': '"epoch":1,"seconds":2.0', '"epoch":2,"seconds":1.0': '"epoch":2,"seconds":1.5'}
    story = [next((line.replace(was, now) for was, now in took.items() if was in line), line) for line in KILLED]
    line = timeline(write_run(tmp_path, story))
    told = {figure.name: figure.value for figure in figures(line)}
    assert told["makespan"] == pytest.approx(6.0)
    # A1: 2 s at speed 2, B1: 1.5 s at speed 2; three slots of speed 2: the longest is 4 / 2
    assert told["lower bound"] == pytest.approx(2.0)
    assert told["average load"] == pytest.approx(1.75)
    assert told["imbalance"] == pytest.approx(2.0 / 1.75)
    assert told["fairness"] == pytest.approx(3.5**2 / (2 * (2.0**2 + 1.5**2)))
    assert told["completion time"] == pytest.approx(2.0 + 1.5 + 2.0 + 6.5)
    assert told["awards per task"] == pytest.approx(1.5)
    assert [(one.peer, one.state, one.first_s) for one in knew(line)] == [("n2", "suspect", 6.0), ("n2", "dead", 7.0)]


def test_a_change_that_spreads_is_one_change(tmp_path: Path) -> None:
    dead = 'peer.state {"peer":"n9","state":"dead","address":"","reason":"silent"}'
    line = timeline(
        write_run(tmp_path, [f"1 n1 {dead}", f"1.25 n2 {dead}", f"2 n3 {dead}", f"5 n1 {dead}", f"50 n1 {dead}"])
    )
    assert [(one.first_s, one.all_s, one.observers) for one in knew(line)] == [
        (0.0, 1.0, 3),
        (4.0, 0.0, 1),
        (49.0, 0.0, 1),
    ]


def test_what_was_traded_before_it_started_is_told(divided: Path) -> None:
    line = timeline(divided)
    assert line.trades
    assert sum(trade.origin != "" for trade in line.trades) == sum(batch.traded for batch in line.batches)
    told: Any = json.loads(msgspec.json.encode(columns(line)))
    ran_on = {told["attempts"]["task"][place]: node for place, node in enumerate(told["attempts"]["node"])}
    last = {task: (origin, to) for at, task, origin, to in sorted(told["trades"])}
    assert all(ran_on[task] == to != origin for task, (origin, to) in last.items())


def test_the_cards_are_what_why_tells(run: Path) -> None:
    cards = held(report(run), "cards")
    assert len(cards) == 40
    for task in list(cards)[:5] + [task for task, card in cards.items() if len(card["awards"]) > 1][:5]:
        told = json.loads(msgspec.json.encode(why(open_run(run), task)))
        assert {**cards[task], "run": told["run"], "notes": told["notes"]} == told


def test_of_many_tasks_the_most_telling_have_cards(run: Path) -> None:
    line = timeline(run)
    lost = {task.task for task in line.tasks.values() if task.lost}
    assert lost
    chosen = telling(line, 12)
    assert len(chosen) == len(set(chosen)) == 12
    assert lost & set(chosen)
    page = report(run, cards_max=12)
    assert set(held(page, "cards")) == set(chosen)
    assert len(held(page, "data")["tasks"]["id"]) == 40
    assert telling(line, 0) == []


def test_nothing_in_a_log_can_break_out_of_its_place(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!--"
    text = json.dumps(evil)
    story = [
        f'0 n1 task.submit {{"task":{text},"kind":{text},"work":1.0,"payload_bytes":0,"peer":{text}}}',
        award(1, evil),
        f'2 n2 task.start {{"task":{text},"kind":{text},"epoch":1}}',
        f'3 n2 task.end {{"task":{text},"epoch":1,"seconds":1,"reason":"error","detail":{text}}}',
    ]
    folder = tmp_path / "a&b<c>"
    page = report(write_run(folder, story))
    clean = report(write_run(tmp_path / "plain", [submit(0, "A1"), award(1, "A1")]))
    for word in (b"</script", b"<script", b"<!--", b"alert"):
        assert page.count(word) == clean.count(word)
    assert held(page, "data")["tasks"]["id"] == [evil]
    assert b"<title>Parley a&amp;b&lt;c&gt;</title>" in page


def test_the_page_asks_nobody_for_anything(run: Path) -> None:
    page = report(run).decode()
    assert "<!--" not in page
    links = set(re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page))
    assert all(link.startswith(("#", "data:")) for link in links), links
    assert "default-src 'none'" in page
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    "story",
    [
        [submit(0, "A1")],
        ['0 n1 node.load {"slots":1,"running":0,"waiting":0,"queued_s":0}'],
        ['0 n2 task.end {"task":"A1","epoch":1,"seconds":1,"reason":null,"detail":""}'],
        [submit(0, "A1"), '1 n1 auction.fail {"auction":"a","task":"A1","declines":[],"silent":["n9"]}'],
    ],
)
def test_a_run_in_which_little_happened_has_a_report(story: list[str], tmp_path: Path) -> None:
    assert held(report(write_run(tmp_path, story)), "data")["figures"] == []


def test_the_command_writes_it_beside_the_logs_and_says_where(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.report(run, None)
    assert Path(capsys.readouterr().out.strip()) == run / "report.html"
    assert (run / "report.html").read_bytes() == report(run)
    command.report(run / "n1.jsonl", tmp_path / "x.html")
    assert (tmp_path / "x.html").stat().st_size > 10_000
    with pytest.raises(RunError, match="there is no log"):
        command.report(tmp_path, None)


# --- in a browser ----------------------------------------------------------------------------------------------------

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on this machine")


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "report.html"
    path.write_bytes(report(run))
    with browser(folder) as opened:
        yield opened, path


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_it_is_drawn_at_every_size_without_a_network(
    page: tuple[Browser, Path], width: int, height: int, scheme: str
) -> None:
    sight, path = page
    sight.look(width, height, scheme)
    sight.open(path)
    assert sight.errors == []
    assert {url.split(":")[0] for url in sight.requests} <= {"file", "data", "blob", "about"}
    assert sight.run("document.querySelector('#tiles').textContent").startswith("40 / 40tasks done")
    assert sight.run("document.documentElement.scrollWidth") <= width, "nothing hangs over the edge"
    for part in ("#gantt", "#matrix", "#load svg", "#shares svg", "#membership svg", "#knew tr", "#figures-table tr"):
        assert sight.run(f"document.querySelector('{part}').getBoundingClientRect().height") > 8, part
    back = sight.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back)[:3])) < 200) == (scheme == "dark")


@in_a_browser
def test_search_finds_a_task_and_its_card_opens(page: tuple[Browser, Path]) -> None:
    sight, path = page
    sight.look(1280, 800)
    sight.open(path)
    sight.click_on("#search")
    sight.type("t0017")
    sight.until("document.querySelector('#found').textContent === '1 task'")
    sight.click_on("#list tbody tr")
    sight.until("document.querySelector('#card').open")
    card = sight.run("document.querySelector('#card-body').innerText")
    assert card.startswith("t0017")
    assert "Award 1:" in card
    assert "History" in card
    assert sight.run("document.querySelectorAll('#card .bid').length") >= 4
    assert sight.run("location.hash") == "#task=t0017"
    sight.key("Escape")
    sight.until("!document.querySelector('#card').open")
    sight.run("document.querySelector('#search').value = ''")
    sight.click_on("[data-only=again]")
    lost = sight.run("window.parley.data.tasks.lost.filter(times => times > 0).length")
    assert lost > 0
    assert sight.run("document.querySelectorAll('#list tbody tr').length") == lost
    assert sight.errors == []


@in_a_browser
def test_a_bar_of_the_gantt_tells_and_opens_its_task(page: tuple[Browser, Path]) -> None:
    sight, path = page
    sight.look(1280, 800)
    sight.open(path)
    sight.run("document.querySelector('#gantt').scrollIntoView({block: 'center', behavior: 'instant'})")
    cut = sight.run(
        "window.parley.data.attempts.reason.findIndex(reason => window.parley.data.reasons[reason] === 'cut')"
    )
    assert cut >= 0
    place = sight.run(f"window.parley.gantt.placeOf({cut})")
    sight.move(place["x"], place["y"])
    sight.until("!document.querySelector('#tip').hidden")
    assert "its node was gone" in sight.run("document.querySelector('#tip').textContent")
    sight.click(place["x"], place["y"])
    sight.until("document.querySelector('#card').open")
    card = sight.run("document.querySelector('#card-body').innerText")
    assert card.startswith(sight.run(f"window.parley.data.tasks.id[window.parley.data.attempts.task[{cut}]]"))
    assert "offered again" in card
    assert "Award 2:" in card
    sight.click_on("#close")
    sight.until("!document.querySelector('#card').open")
    before = sight.run("window.parley.gantt.to - window.parley.gantt.from")
    sight.click_on("[data-zoom='0.5']")
    assert sight.run("window.parley.gantt.to - window.parley.gantt.from") == pytest.approx(before / 2, rel=0.01)
    sight.click_on("[data-zoom='fit']")
    assert sight.run("window.parley.gantt.to - window.parley.gantt.from") == pytest.approx(before)


@in_a_browser
def test_a_divided_batch_has_its_certificate_on_the_card_and_its_trades_in_the_gantt(
    divided: Path, page: tuple[Browser, Path], tmp_path: Path
) -> None:
    sight, _ = page
    path = tmp_path / "divided.html"
    path.write_bytes(report(divided))
    sight.look(1280, 800)
    sight.open(path)
    assert "from the optimum at most: 1 batch divided" in sight.run("document.querySelector('#tiles').textContent")
    assert sight.run("document.querySelectorAll('#batches tbody tr').length") == len(timeline(divided).batches)
    assert "traded; a line comes from" in sight.run("document.querySelector('#kinds').textContent")
    met = "[...window.parley.gantt.traded].filter(([_, trade]) => trade.origin >= 0).map(([place]) => place)"
    [attempt, *_] = sight.run(met)
    sight.run("document.querySelector('#gantt').scrollIntoView({block: 'center', behavior: 'instant'})")
    place = sight.run(f"window.parley.gantt.placeOf({attempt})")
    sight.move(place["x"], place["y"])
    sight.until("document.querySelector('#tip').textContent.includes('traded from')")
    sight.click(place["x"], place["y"])
    sight.until("document.querySelector('#card').open")
    card = sight.run("document.querySelector('#card-body').innerText")
    assert "divided with" in card
    assert "the optimum is within" in card
    assert "traded between" in card
    assert sight.errors == []


@in_a_browser
def test_a_link_to_a_task_opens_its_card_and_the_theme_can_be_chosen(page: tuple[Browser, Path]) -> None:
    sight, path = page
    sight.look(1280, 800)
    sight.open(path, "#task=t0003")
    sight.until("document.querySelector('#card').open")
    assert sight.run("document.querySelector('#card-body').innerText").startswith("t0003")
    sight.key("Escape")
    sight.click_on("#theme")
    sight.click_on("#theme")
    assert sight.run("document.documentElement.dataset.theme") == "dark"
    sight.click_on("#theme")
    assert sight.run("document.documentElement.dataset.theme || 'auto'") == "auto"


@in_a_browser
def test_labels_that_look_like_html_are_text(tmp_path: Path, page: tuple[Browser, Path]) -> None:
    sight, _ = page
    evil = "<img src=x onerror=document.title='bad'></script>"
    text = json.dumps(evil)
    story = [
        f'0 n1 task.submit {{"task":{text},"kind":{text},"work":1.0,"payload_bytes":0,"peer":"c"}}',
        award(1, evil),
    ]
    path = tmp_path / "evil.html"
    path.write_bytes(report(write_run(tmp_path / "run", story)))
    sight.look(1280, 800)
    sight.open(path)
    sight.click_on("#list tbody tr")
    sight.until("document.querySelector('#card').open")
    assert evil in sight.run("document.querySelector('#card-body').innerText")
    assert sight.run("document.title").startswith("Parley")
    assert sight.run("document.querySelectorAll('main img, dialog img').length") == 0
