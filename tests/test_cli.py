"""Every command as a person types it: what is good answers on stdout, what is bad is one sentence and an exit code.

All rows of the table share one agent, which is unharmed after all of them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import warm_commands
from local_fleets import PARLEY, agent, at_home, family, parley

from parley.launch.cli import COMMANDS

TESTS = Path(__file__).resolve().parent
ONE_SENTENCE = re.compile(r"parley: [^\n]+\n")
AT_A_TIME = 4
TOGETHER = "test_what_is_bad_is_one_sentence"
AGENT_BYTES_MAX = 300 * 1024 * 1024
LONG = "x" * 65


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """Of an agent that runs commands and the tests' functions: after all that the rows have done to it it is whole."""
    flags = ["--name=n1", "--allow=command", "--allow=worker_functions:*", f"--code={TESTS}"]
    with agent(*flags, home=home) as only:
        yield only.address
        echoed = parley("submit", "echo", "--args", '{"still": "here"}', "--wait", "--json", env=at_home(home))
        [node] = json.loads(parley("nodes", "--json", env=at_home(home)).stdout)
        running = {process.name() for process in family(only.process.pid)}
        kept = psutil.Process(only.process.pid).memory_info().rss
        assert only.process.poll() is None
        assert json.loads(echoed.stdout)["value"] == {"still": "here"}
        assert (node["state"], node["running"]) == ("alive", 0)
        assert not running & {"sleep", "yes", "head", "sh"}
        assert kept < AGENT_BYTES_MAX


class Row(NamedTuple):
    """What is typed, and what comes of it. "AGENT" stands for the address, "HERE" for a folder with `files`."""

    name: str
    words: list[str]
    code: int
    said: str = ""
    """A pattern that stderr, one sentence, must hold; "": nothing at all is said."""
    out: str | None = None
    """A pattern that all of stdout must be; None: nothing."""
    files: Mapping[str, str] = {}
    stdin: str = ""


ECHO = '{"kind": "echo", "args": [1]}\n'
FORM = '{"kind": "echo", "args": [], '
CHILD = {"t": FORM + '"after": ["p"]}'}
ID = r"\w{12}\n"

FLAGS = [
    Row("no command", [], 2, out=r"Usage: parley [\s\S]*Commands:[\s\S]*"),
    Row("an unknown command", ["frobnicate"], 2, r"No such command 'frobnicate'"),
    Row("a command that is nearly one", ["sumbit"], 2, r"No such command 'sumbit': did you mean submit\?"),
    Row("an unknown flag", ["submit", "echo", "--wrok=1"], 2, r"No such option '?--wrok'?.*--work"),
    Row("no kind", ["submit"], 2, r"hand in what\? Name a KIND, or say --file"),
    Row("a kind and a file", ["submit", "echo", "--file=t.jsonl"], 2, r"either KIND with --args, or --file"),
    Row("a name for a file", ["submit", "--file=t.jsonl", "--name=a"], 2, r"in a file, each line may have an id"),
    Row("both forms of JSON", ["submit", "echo", "--json", "--jsonl"], 2, r"choose one of them"),
    Row("arguments that are no JSON", ["submit", "echo", "--args={bad"], 2, r"--args is no JSON"),
    Row("arguments that are a number", ["submit", "echo", "--args=1"], 2, r"must be a JSON object .* or a list"),
    Row("arguments that are nowhere", ["submit", "echo", "--args=@/nowhere"], 2, r"/nowhere cannot be read: no such"),
    Row("arguments too deep", ["submit", "echo", "--args=" + "[" * 50_000 + "]" * 50_000], 2, r"nested too deep"),
    Row("a benchmark of nothing", ["bench"], 2, r"Missing argument"),
    Row("a benchmark of what is no instance", ["bench", "/dev/null"], 2, r"/dev/null is no instance"),
    Row("an empty kind", ["submit", ""], 2, r"a kind has 1 to 128 characters"),
    Row("a kind that is too long", ["submit", "k" * 129], 2, r"a kind has 1 to 128 characters"),
    Row("a name with a space", ["submit", "echo", "--name=a b"], 2, r"'a b' is no label"),
    Row("a name that is too long", ["submit", "echo", f"--name={LONG}"], 2, r"is no label"),
    Row("a duration that is none", ["submit", "echo", "--timeout=soon"], 2, r"'soon' is no duration: write 30s, 5m"),
    Row("no time at all", ["submit", "echo", "--timeout=0s"], 2, r"'0s' is no time at all"),
    Row("a deadline in the past", ["submit", "echo", "--deadline=-5s"], 2, r"'-5s' is no duration"),
    Row("work that is none", ["submit", "echo", "--work=hard"], 2, r"'hard' is no duration"),
    Row("a priority that is none", ["submit", "echo", "--priority=high"], 2, r"'high' is no whole number;"),
    Row("a reward that is none", ["submit", "echo", "--reward=much"], 2, r"'much' is no number;"),
    Row("too high a priority", ["submit", "echo", "--priority=1001"], 2, r"1001 is not in the range"),
    Row("a reward below zero", ["submit", "echo", "--reward=-1"], 2, r"-1.*is not in the range"),
    Row("a reward that is no number", ["submit", "echo", "--reward=nan"], 2, r"reward is from 0"),
    Row("no attempts", ["submit", "echo", "--attempts=0"], 2, r"0 is not in the range"),
    Row("too many replicas", ["submit", "echo", "--replicas=65"], 2, r"65 is not in the range"),
    Row("after nothing", ["submit", "echo", "--after="], 2, r"'' names no task to come after"),
    Row("a state that is none", ["tasks", "--state=lost"], 2, r"'lost' is not one of"),
    Row("watching for no time", ["watch", "--interval=0s"], 2, r"'0s' is no time at all"),
    Row("no task to wait for", ["wait"], 2, r"wait for what\? Name tasks, or say --all"),
    Row("no task to cancel", ["cancel"], 2, r"cancel what\? Name tasks, or say --all"),
    Row("a task without a name, to wait for", ["wait", ""], 2, r"'' names no task: say its id"),
    Row("a task without a name, to cancel", ["cancel", ""], 2, r"'' names no task: say its id"),
    Row("a task without a name, to see", ["tasks", ""], 2, r"'' names no task: say its id"),
    Row("a task without a name, for a result", ["result", ""], 2, r"'' names no task: say its id"),
    Row("a name longer than any", ["wait", "z" * 65], 2, r"names no task: say its id"),
    Row("all and one of them, to wait for", ["wait", "--all", "last"], 2, r"either names, or --all"),
    Row("all and one of them, to cancel", ["cancel", "--all", "last"], 2, r"either names, or --all"),
    Row("a fact without a value", ["submit", "echo", "--about=metres"], 2, r"'metres' tells nothing: write a name and"),
    Row("no task for a result", ["result"], 2, r"Missing argument 'ID'"),
    Row("nothing to run", ["run"], 2, r"Missing argument"),
    Row("a flag behind the command's name", ["run", "--nede=gpu", "true"], 2, r"No such option '?--nede'?.*--need"),
    Row("a variable without a name", ["run", "--env", "=1", "--", "true"], 2, r"'=1' sets no variable"),
    Row("a variable that is not here", ["run", "--env", "NOT_SET", "--", "true"], 2, r"NOT_SET is not set here"),
    Row("two words for a plan", ["plan", "python", "train.py"], 2, r"parley plan -- python train.py"),
    Row("a key that cannot be one", ["keys", "allow", "nonsense"], 2, r"'nonsense' is no key: write NAME:KEY"),
    Row("a name that no node has", ["keys", "new", "--name=a/b"], 2, r"'a/b' is no name for a node"),
    Row("no key to show", ["keys", "show", "--keys=HERE/none"], 2, r"there is no key in .*: make one with"),
    Row("no seeds", ["simulate", "--seeds=0"], 2, r"0 is not in the range"),
    Row("arguments for a command", ["plan", "--args={}", "--", "true"], 2, r"--args is for a KIND"),
    Row("nothing to plan", ["plan"], 2, r"Missing argument"),
    Row("a plan for a task and a file", ["plan", "echo", "--file=t.jsonl"], 2, r"either a task, or --file"),
]
NEEDS = [
    Row("a need that is none", ["submit", "echo", "--need=vram<8"], 2, r"'vram<8' is no need: write a tag, as gpu"),
    Row("a need of nothing", ["run", "--need=", "--", "true"], 2, r"'' is no tag"),
    Row("an amount that is none", ["run", "--need=vram>=much", "--", "true"], 2, r"'much' is no amount"),
    Row("only where there is an amount", ["submit", "echo", "--only=a b"], 2, r"'a b' is no tag"),
    Row("too many needs", ["submit", "echo", *(f"--need=t{n}" for n in range(17))], 2, r"need has 16 entries at most"),
    Row(
        "a need that nobody has",
        ["run", "--need=gpu", "--", "true"],
        3,
        r"0/1 nodes can run this: 1 lacks capability gpu",
    ),
    Row(
        "more than anybody has",
        ["run", "--need=cpu=999", "--", "true"],
        3,
        r"0/1 nodes can run this: 1 has cpu 2? ?\d* ?< 999",
    ),
    Row("only where nobody is", ["submit", "echo", "--only=site=moon", "--wait"], 3, r"1 is not site=moon", ID),
    Row("a plan that comes to nothing", ["plan", "echo", "--need=gpu"], 3, r"0/1 nodes can run this"),
    Row(
        "a plan for a file that nobody can run",
        ["plan", "--file=t.jsonl", "--json"],
        3,
        r"no node takes 2 of 3 tasks, the first of them line 1: 0/1 nodes can run this",
        r'\{"tasks":3,.*"unplaced":\["line 1","line 3"\],"others":0\}\n',
        files={"t.jsonl": FORM + '"need": "gpu"}\n' + ECHO + FORM + '"need": "gpu"}\n'},
    ),
    Row("a plan for nothing", ["plan", "--file=t.jsonl"], 2, r"t.jsonl has no task", files={"t.jsonl": "\n"}),
    Row("a kind that nobody offers", ["submit", "pkg.mod:func", "--wait"], 3, r"1 does not offer the kind", ID),
]

NO_LOG, NO_EVENT = r"there is no log \(NAME.jsonl\) in .*", r"there is not one event of Parley in .*"
ANY_LOG = (
    '{"ts":"2026-01-01T00:00:00Z","mono":1,"hlc":1,"level":"info","event":"node.stop","v":1,"run":"r","node":"n1",'
)
ANY_LOG += '"seq":1,"reason":"stopped"}\n'
LOGS = [
    row
    for words in (["logs"], ["trace"], ["verify"], ["report"])
    for row in (
        Row(f"{words[0]} of nothing", [*words, "nowhere"], 1, r"there is no run in nowhere"),
        Row(f"{words[0]} of an empty folder", [*words, "HERE"], 1, NO_LOG),
        Row(f"{words[0]} of what is no log", [*words, "/bin/sh"], 1, NO_EVENT),
        Row(f"{words[0]} of half a line", [*words, "n1.jsonl"], 1, NO_EVENT, files={"n1.jsonl": ANY_LOG[:-9]}),
    )
]
LOGS += [
    Row(
        "a log with a gap",
        ["verify", "HERE"],
        5,
        out=r"n1.jsonl:1: lines 1 to 6 are missing before it \(by seq\)\nnote: n1.jsonl: 6 lines missing\n.* 1 gap\n",
        files={"n1.jsonl": ANY_LOG.replace('"seq":1', '"seq":7')},
    ),
    Row(
        "an event that is none", ["logs", "HERE", "--event=x.y"], 2, r"no event is called", files={"n1.jsonl": ANY_LOG}
    ),
    Row("a node that is not there", ["logs", "HERE", "--node=x"], 2, r"no log here of x", files={"n1.jsonl": ANY_LOG}),
    Row(
        "a trace to nowhere", ["trace", "HERE", "-o", "no/x"], 2, r"no/x cannot be written", files={"n1.jsonl": ANY_LOG}
    ),
]


def line(name: str, text: str, said: str) -> Row:
    """A file with this one line."""
    return Row(name, ["submit", "--file=t"], 2, f"line 1 of t: .*{said}", files={"t": text})


FILES = [
    Row("a file that is nowhere", ["submit", "--file=/nowhere"], 2, r"/nowhere cannot be read: no such file"),
    Row("a file that is a folder", ["submit", "--file=HERE"], 2, r"cannot be read: is a directory"),
    Row(
        "a file without an end",
        ["submit", "--file=/dev/zero"],
        2,
        r"line 1 of /dev/zero has more than 33,554,432 bytes",
    ),
    Row("a line that is no JSON", ["submit", "--file=t"], 2, r"line 2 of t: no JSON", ID, {"t": ECHO + "no\n"}),
    line("a line that is a list", "[1]", r"a task is an object"),
    line("a line without a kind", '{"args": {}}', r"kind is missing"),
    line("a line without args", '{"kind": "echo"}', r"args is missing"),
    line("a key that is nearly one", FORM + '"wrok": 1}', r"no key 'wrok': did you mean work\?"),
    line("a key that is none", FORM + '"zzz": 1}', r"no key 'zzz': the keys are kind"),
    line("a need of a number", FORM + '"need": [1]}', r"need\[0\] is text, not a whole"),
    line("args nested too deep", '{"kind": "echo", "args": ' + "[" * 99 + "]" * 99 + "}", r"nested more than 64 deep"),
    line("a fact that is none", FORM + '"about": {"metres": []}}', r"about\[\.\.\.\] is a number or text, not a list"),
    line("no attempt", FORM + '"attempts": 0}', r"attempts is a whole number from 1 to 100, not 0"),
    line("half a priority", FORM + '"priority": 0.5}', r"priority is a whole number"),
    line("an id with a space", FORM + '"id": "a b"}', r"'a b' is no label"),
    line("a gang of none", FORM + '"gang": 0}', r"gang is a whole number from 1 to 256, not 0"),
    Row("no gang", ["submit", "echo", "--gang=0"], 2, r"0 is not in the range 1<=x<=256"),
    Row("less than no gang", ["submit", "echo", "--gang=-2"], 2, r"-2 is not in the range 1<=x<=256"),
    Row("a gang of replicas", ["submit", "echo", "--gang=2", "--replicas=2"], 2, r"a gang has no replicas"),
    Row("no slot at all", ["submit", "echo", "--need=slots=0"], 2, r"takes one slot or more of its node.* not 0"),
    Row("half a slot", ["submit", "echo", "--need=slots=0.5"], 2, r"takes one slot or more of its node.* not 0.5"),
    Row("less than no slot", ["submit", "echo", "--need=slots=-1"], 2, r"slots"),
    Row("a plan for a gang", ["plan", "echo", "--gang=2"], 2, r"a plan is made for one task on one node"),
    Row(
        "a child without its parent",
        ["submit", "--file=t"],
        1,
        r"line 1 of t: not taken: .* after p, which",
        files=CHILD,
    ),
    Row(
        "a line from stdin",
        ["submit", "--file=-"],
        2,
        r"line 3 of stdin: no JSON",
        r"(\w{12}\n){2}",
        {},
        ECHO + ECHO + "{",
    ),
]


def waited(name: str, said: str, *words: str, code: int = 1) -> Row:
    """A task that is handed in, and whose end is waited for."""
    return Row(name, ["submit", *words, "--wait"], code, said, ID)


def hung(name: str, said: str, *words: str) -> Row:
    """A command that takes longer than it may."""
    return Row(name, ["run", "--timeout=500ms", "--attempts=1", "--", *words], 124, said)


WORK = [
    waited("a task that takes the wrong thing", r"task \w{12}: sleep takes", "sleep", '--args={"seconds": -1}'),
    waited("a function that is not there", r"nope", "worker_functions:nope"),
    waited("a function that raises", r"ValueError: too hot", "worker_functions:raises", '--args=["too hot"]'),
    waited("a function that leaves", r"SystemExit: 3", "worker_functions:leaves"),
    waited("a worker that segfaults", r"SIGSEGV", "worker_functions:segfault", "--attempts=1"),
    waited("a worker that vanishes", r"exit(ed)?.* 9|9", "worker_functions:vanish", "--args=[9]", "--attempts=2"),
    waited(
        "a worker that hangs", r"no result within 0.5 s", "worker_functions:hang", "--timeout=500ms", "--attempts=1"
    ),
    waited(
        "a worker that computes for ever",
        r"within 0.5 s",
        "worker_functions:compute",
        "--timeout=500ms",
        "--attempts=1",
    ),
    waited("a value that cannot travel", r"a set cannot travel", "worker_functions:unsendable"),
    waited(
        "too late before it begins", r"0.2 s|too late|deadline", "sleep", '--args={"seconds": 60}', "--deadline=200ms"
    ),
    Row(
        "a command for nobody's node",
        ["run", "--", "no-such-program"],
        127,
        r"no-such-program is not found on this node",
    ),
    Row("a command that cannot be executed", ["run", "--", "/etc/passwd"], 126, r"/etc/passwd cannot be executed"),
    Row("a folder that is not there", ["run", "--cwd=/nowhere", "--", "true"], 126, r"true cannot be run in /nowhere"),
    hung("a command that hangs", r"did not end within 0.5 s", "sleep", "100"),
    hung("a command that hears no signal", r"within 0.5 s", "sh", "-c", "trap '' TERM; sleep 100"),
    Row(
        "too much stdin",
        ["run", "--stdin", "--", "cat"],
        2,
        r"stdin is too long to be handed on: 4,194,304 bytes",
        None,
        {},
        "x" * 4_194_305,
    ),
    waited("a command that takes what it likes", r'command takes \{"argv"', "command", '--args={"cmd": "ls"}'),
    waited("an argv that is a line", r"argv must be a list", "command", '--args={"argv": "ls -l"}'),
    Row("a task that is not here", ["result", "zzzz"], 1, r"no task here is called zzzz"),
    Row("a task that is not here, to wait for", ["wait", "zzzz"], 1, r"no task here is called zzzz"),
    Row("a task that is not here, to cancel", ["cancel", "zzzz"], 1, r"no task here is called zzzz"),
    Row("a task that is not here, to see", ["tasks", "zzzz"], 1, r"no task here is called zzzz"),
    Row(
        "after a task that is not here", ["submit", "echo", "--after=zzzz"], 1, r"not taken: it comes after zzzz, which"
    ),
]
PLACES = [
    Row("no agent there", ["submit", "echo", "--agent=tcp://127.0.0.1:9"], 4, r"no agent answers at tcp://127.0.0.1:9"),
    Row("no agent for a command", ["run", "--agent=tcp://127.0.0.1:9", "--", "true"], 4, r"no agent answers"),
    Row("an address that is none", ["nodes", "--agent=here"], 2, r"'here' is no address: write tcp://host:port"),
    Row("a host that is none", ["tasks", "--agent=tcp://no.such.host.invalid:4100"], 2, r"no.such.host.invalid"),
    Row("a port out of range", ["up", "--name=n2", "--bind=tcp://127.0.0.1:70000"], 2, r"no usable port|70000"),
    Row("a port in use", ["up", "--name=n2", "--bind=AGENT"], 2, r"in use|cannot be bound|taken"),
    Row("a path in no folder", ["up", "--name=n9", "--bind=ipc:///nowhere/n9"], 2, "a folder that is not there"),
    Row("a node's name with a space", ["up", "--name=n 2"], 2, r"'n 2' is no name for a node"),
    Row(
        "a node's name that is taken",
        ["up", "--name=n1", "--join=AGENT", "--folder=HERE/n1"],
        2,
        r"a node named n1 is in this fleet already",
    ),
    Row("no one to join", ["up", "--name=n2", "--join=tcp://127.0.0.1:9"], 4, r"no agent answers"),
    Row("two holders", ["up", "--name=n2", "--holders=2"], 2, r"--holders': 2 is even: say 1, 3 or 5"),
    Row("no slots", ["up", "--name=n2", "--slots=0"], 2, r"0 is not in the range"),
    Row("an amount of nothing", ["up", "--name=n2", "--have=vram"], 2, r"vram"),
    Row("an unknown rule", ["up", "--name=n2", "--rule=best"], 2, r"'best' is not one of"),
    Row("a folder that is a file", ["up", "--name=n2", "--folder=/dev/null/x"], 1, r"/dev/null/x"),
    Row("code that is not there", ["up", "--name=n2", "--code=/nowhere"], 2, r"/nowhere"),
    Row(
        "a setting that is none", ["nodes"], 2, r"parley.toml.*slotz|slotz", None, {"parley.toml": "[up]\nslotz = 2\n"}
    ),
    Row("settings that are no TOML", ["nodes"], 2, r"parley.toml", None, {"parley.toml": "slots 2"}),
]
RUNS = [
    Row("speeds that are none", ["demo", "--speed=1,fast"], 2, r"'1,fast' is no list of speeds"),
    Row("speeds below zero", ["demo", "--speed=1,-1"], 2, r"is no list of speeds"),
    Row("nodes that do not fit", ["demo", "--nodes=3", "--speed=1,2"], 2, r"--nodes 3 and 2 speeds do not fit"),
    Row("a kill of nobody", ["demo", "--kill=@50%"], 2, r"does not say whom, and when: write n2"),
    Row("a kill at a part that is none", ["demo", "--kill=n2@half"], 2, r"does not say whom, and when: write n2"),
    Row("a kill of the only holder", ["demo", "--nodes=2", "--kill=n1"], 2, r"n1 takes the tasks, and alone holds"),
    Row("a kill of a stranger", ["demo", "--kill=n9@50%"], 2, r"there is no node n9 to kill"),
    Row("data without a folder", ["demo", "--data=mnist"], 2, r"--data mnist needs --data-dir"),
    Row("data that is not there", ["demo", "--data=mnist", "--data-dir=/nowhere"], 2, r"/nowhere"),
    Row("a run that is nowhere", ["why", "--run=HERE/nowhere"], 1, r"nowhere"),
    Row("a run that is none", ["why", "--run=HERE"], 1, r"no log|holds no"),
    Row("a task of no run", ["why", "zzz", "--run=HERE"], 1, r"no log|holds no"),
]
BAD = [*FLAGS, *LOGS, *NEEDS, *FILES, *WORK, *PLACES, *RUNS]

GOOD = [
    Row("the version", ["--version"], 0, out=r"parley, version \S+\n"),
    Row("a task", ["submit", "echo", "--args=[1]"], 0, out=ID),
    Row("a task as JSON", ["submit", "echo", "--args=[1]", "--json"], 0, out=r'\{"task":"\w{12}"\}\n'),
    Row(
        "its end as JSON",
        ["submit", "echo", '--args=[1, null, {"a": 2.5}]', "--wait", "--json"],
        0,
        out=r'\{"task":"\w{12}","state":"done","value":\[1,null,\{"a":2.5\}\],"node":"n1","epoch":1,"attempts":1,"seconds":[^,]+,"error":null\}\n',
    ),
    Row(
        "on all terms",
        [
            "submit",
            "echo",
            "--need=cpu=1",
            "--need=memory=1MiB",
            "--priority=5",
            "--reward=2",
            "--deadline=1m",
            "--timeout=30s",
            "--attempts=2",
            "--at-most-once",
            "--work=10ms",
            "--wait",
        ],
        0,
        out=ID,
    ),
    Row(
        "arguments from a file",
        ["submit", "echo", "--args=@a.json", "--wait", "--json"],
        0,
        out=r'.*"value":\["ä"\].*\n',
        files={"a.json": '["ä"]'},
    ),
    Row(
        "arguments from stdin",
        ["submit", "echo", "--args=@-", "--wait", "--json"],
        0,
        out=r'.*"value":\[7\].*\n',
        stdin="[7]",
    ),
    Row("a file", ["submit", "--file=t.jsonl"], 0, out=r"(\w{12}\n){3}", files={"t.jsonl": ECHO * 3}),
    Row(
        "a file as JSON",
        ["submit", "--file=t.jsonl", "--wait", "--json"],
        0,
        out=r'\{"taken":3,"states":\{"done":3\}\}\n',
        files={"t.jsonl": ECHO * 3},
    ),
    Row("a file from stdin", ["submit", "--file=-", "--jsonl"], 0, out=r'(\{"task":"\w{12}"\}\n){2}', stdin=ECHO * 2),
    Row("an empty file", ["submit", "--file=t.jsonl"], 0, out="", files={"t.jsonl": "\n"}),
    Row("a name to wait for", ["submit", "echo", "--name=mine"], 0, out=ID),
    Row("wait", ["wait", "mine", "last", "--timeout=20s"], 0, out=""),
    Row("wait as JSON", ["wait", "mine", "--json"], 0, out=r'\{"tasks":1,"states":\{"done":1\}\}\n'),
    Row("a result", ["result", "mine"], 0, out=r"\{\}\n"),
    Row("an array", ["submit", "worker_functions:nothing", "--wait", "--json"], 0, out=r'.*"value":null.*\n'),
    Row(
        "nodes",
        ["nodes"],
        0,
        out=r"NODE +STATE +SPEED +SLOTS +RUNNING +QUEUED +(?:LAG +)?HAS +ADDRESS\nn1 +alive +1 +1 +0 .*\n[\s\S]*",
    ),
    Row("tasks", ["tasks", "mine"], 0, out=r"TASK +NAME +KIND +STATE +NODE +TRIES\n\w{12} +mine +echo +done +n1 +1\n"),
    Row("watch, once", ["watch", "--once"], 0, out=r"1 of 1 nodes  [^\n]*\n\nn1 +alive +×1 +░+  0 of 1, 0 wait[\s\S]*"),
    Row(
        "watch, for scripts",
        ["watch", "--once", "--jsonl"],
        0,
        out=r'\{"agent":"tcp://.*"states":\{.*\},"waiting":\[.*\]\}\n',
    ),
    Row("tasks of a state", ["tasks", "--state=running", "--json"], 0, out=r"\[\]\n"),
    Row(
        "tasks line by line",
        ["tasks", "mine", "--jsonl"],
        0,
        out=r'\{"task":"\w{12}","kind":"echo","state":"done","reason":"","node":"n1","epoch":1,"attempts":1\}\n',
    ),
    Row(
        "a plan",
        ["plan", "sleep", '--args={"seconds": 2}'],
        0,
        out=r"Plan for sleep: n1 wins, the only one to bid\n[\s\S]*▶ n1 +2.000 +0 +2.000 +█+\n"
        r"  within 0 % of the optimum: .*\n",
    ),
    Row(
        "a plan for a file",
        ["plan", "--file=t.jsonl"],
        0,
        out=r"Plan for 3 tasks, divided by 1 node in \d+ rounds\n  done in [\s\S]*: within 0 % of the optimum\n\n"
        r"  n1 +3 .*█+  line 1, line 2, line 3\n\n1 other is called by itself: .*\n",
        files={"t.jsonl": 3 * ECHO + FORM + '"deadline_s": 9}\n'},
    ),
    Row(
        "a plan for a command",
        ["plan", "--json", "--", "true"],
        0,
        out=r'\{"task":"\w{12}","state":"open","awards":\[\{"epoch":0,"winner":"n1",.*\n',
    ),
    Row(
        "why, by name",
        ["why", "mine"],
        0,
        out=r"Task \w{12}  echo\n  done on n1 after [\s\S]*\n[\s\S]*History\n[\s\S]*",
    ),
    Row("a command", ["run", "--", "printf", "hi\\n"], 0, out="hi\n"),
    Row("a command without its dashes", ["run", "echo", "--need", "this"], 0, out="--need this\n"),
    Row("nothing to cancel", ["cancel", "mine", "--json"], 0, out=r'\{"cancelled":0,"ended":1\}\n'),
    Row(
        "a dead agent is passed over",
        ["nodes", "--agent=tcp://127.0.0.1:9", "--agent=AGENT", "--json"],
        0,
        out=r'\[\{"node":"n1".*\n',
    ),
]


def typed(row: Row, folder: Path, address: str, home: Path) -> subprocess.CompletedProcess[str]:
    for name, text in row.files.items():
        (folder / name).write_text(text)
    words = [word.replace("AGENT", address).replace("HERE", str(folder)) for word in row.words]
    return warm_commands.run(words, cwd=folder, env=at_home(home), stdin=row.stdin, timeout_s=90.0)


def check(row: Row, ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == row.code, ended.stderr
    if row.said:
        assert ONE_SENTENCE.fullmatch(ended.stderr), ended.stderr
        assert re.search(row.said, ended.stderr), ended.stderr
    else:
        assert ended.stderr == ""
    assert re.fullmatch(row.out or "", ended.stdout), ended.stdout


@pytest.fixture(scope="module")
def together(
    request: pytest.FixtureRequest, address: str, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[subprocess.CompletedProcess[str]]]]:
    """The bad rows that were asked for, a few at a time: most of them wait, or start a process and fail."""
    asked = {item.name for item in request.session.items}
    rows = [row for row in BAD if f"{TOGETHER}[{row.name}]" in asked]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        folders = {row.name: tmp_path_factory.mktemp("row") for row in rows}
        yield {row.name: pool.submit(typed, row, folders[row.name], address, home) for row in rows}


@pytest.mark.parametrize("bad", BAD, ids=[row.name for row in BAD])
def test_what_is_bad_is_one_sentence(
    bad: Row, together: Mapping[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    check(bad, together[bad.name].result())


@pytest.mark.parametrize("good", GOOD, ids=[row.name for row in GOOD])
def test_what_is_good(good: Row, address: str, home: Path, tmp_path: Path) -> None:
    """One after another: some speak of those before."""
    check(good, typed(good, tmp_path, address, home))


def test_the_table_has_every_command() -> None:
    typed = {row.words[0] for row in (*BAD, *GOOD) if row.words}
    assert set(COMMANDS) - typed <= {"config", "doctor", "completion", "drain"}, "these have tests of their own"
    assert len(BAD) >= 50
    assert len({row.name for row in (*BAD, *GOOD)}) == len(BAD) + len(GOOD)


def test_a_gigabyte_goes_through(address: str, home: Path) -> None:
    """Live, and counted; the agent's memory is looked at when all rows are through."""
    command = [*PARLEY, "run", "--", "head", "-c", "1000000000", "/dev/zero"]
    with subprocess.Popen(command, env=at_home(home), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        size = 0
        while piece := process.stdout.read(1024 * 1024):
            size += len(piece)
    assert (size, process.returncode) == (1_000_000_000, 0)


def test_a_gigabyte_that_nobody_reads(address: str, home: Path) -> None:
    argument = '{"argv": ["head", "-c", "1000000000", "/dev/zero"]}'
    ended = parley("submit", "command", "--args", argument, "--wait", "--json", env=at_home(home))
    value = json.loads(ended.stdout)["value"]
    assert (value["exit"], value["out_bytes"], len(value["out"])) == (0, 1_000_000_000, 65_536)


def test_no_agent_here(tmp_path: Path) -> None:
    ended = parley("nodes", env=at_home(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "")
    assert re.fullmatch(r"parley: no agent runs here: start one with `parley up [^\n]+\n", ended.stderr)


def test_help_names_every_command() -> None:
    said = parley("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", said, re.MULTILINE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("words", [["--help"], ["config", "show", "--json"], ["completion", "bash"]])
def test_no_room_for_what_is_told_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([*PARLEY, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "parley: what is to be told cannot be written: no space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)


def test_a_reader_that_leaves_is_no_traceback() -> None:
    ended = subprocess.run(
        ["bash", "-c", f"{' '.join(PARLEY)} demo --help | true"], capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
