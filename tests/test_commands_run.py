"""`parley run`: a command on another node as if it ran here: its bytes, its exit code, its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import warm_commands
from local_fleets import PARLEY, Agent, agent, at_home, parley

from parley.agents.payload import pack
from parley.launch.outlet import Outlet
from parley.launch.remote import _Following
from parley.protocols.core import Outcome, State
from parley.protocols.performatives import Stream

UNTIL_S = 30.0
AGAIN = "the attempt that wrote this came to nothing; it starts again on another node"


class Shown(Outlet):
    """What a person is shown."""

    def __init__(self) -> None:
        self.out, self.err = 1, 2
        self.words: list[str] = []

    def put(self, fd: int, data: bytes) -> None:
        self.words += [data.decode()] if data else []

    def say(self, sentence: str) -> None:
        self.words.append(sentence)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def node(home: Path) -> Iterator[Agent]:
    with agent("--name=n1", "--allow=command", "--slots=2", home=home) as only:
        yield only


def run(home: Path, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """To its end: exit code, stdout, stderr."""
    ended = warm_commands.run_bytes(["run", *words], cwd=home, env=at_home(home), stdin=stdin)
    return ended.returncode, ended.stdout, ended.stderr


def begun(home: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PARLEY, "run", *words], env=at_home(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def last(home: Path, *words: str) -> dict[str, object]:
    """Where the task that was handed in last stands."""
    [told] = json.loads(parley("tasks", "last", "--json", *words, env=at_home(home)).stdout)
    assert isinstance(told, dict)
    return told


def gone(pid: int) -> bool:
    """It has ended, or does within a while."""
    try:
        psutil.Process(pid).wait(UNTIL_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        return False
    return True


def test_both_streams_are_its_own_bytes(node: Agent, home: Path) -> None:
    script = r"printf '\377\000out'; printf 'err\200' >&2; exit 7"
    assert run(home, "--", "sh", "-c", script) == (7, b"\xff\x00out", b"err\x80")


def test_what_it_writes_is_seen_before_it_ends(node: Agent, home: Path, tmp_path: Path) -> None:
    script = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second"
    with begun(home, f"--cwd={tmp_path}", "--", "sh", "-c", script) as process:
        assert line(process) == b"first\n"
        (tmp_path / "go").touch()
        assert process.communicate(timeout=UNTIL_S) == (b"second\n", b"")
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGSEGV, 139)])
def test_a_signal_that_kills_it_is_told_as_a_shell_does(node: Agent, home: Path, number: int, code: int) -> None:
    assert run(home, "--", "sh", "-c", f"kill -{int(number)} $$") == (code, b"", b"")


def test_it_finds_what_it_is_given(node: Agent, home: Path, tmp_path: Path) -> None:
    words = ["--env", "A=b=c", "--env", "HOME", f"--cwd={tmp_path}", "--stdin"]
    code, out, _ = run(home, *words, "--", "sh", "-c", 'cat; echo "$A $HOME $PWD"', stdin=b"\x00given\n")
    assert (code, out) == (0, b"\x00given\n" + f"b=c {home} {tmp_path}\n".encode())


def test_without_its_flag_stdin_stays_here(node: Agent, home: Path) -> None:
    assert run(home, "--", "cat", stdin=b"ours") == (0, b"", b"")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, b"parley: interrupted\n"),
        (signal.SIGTERM, 143, b"parley: terminated\n"),
        (signal.SIGHUP, 129, b"parley: its terminal has gone\n"),
    ],
)
def test_a_signal_here_stops_it_there(node: Agent, home: Path, number: signal.Signals, code: int, said: bytes) -> None:
    with begun(home, "--", "sh", "-c", "echo $$; exec sleep 1000") as process:
        pid = int(line(process))
        process.send_signal(number)
        out, err = process.communicate(timeout=UNTIL_S)
    assert (out, err.lstrip(b"\n")) == (b"", said)  # an interrupt begins a new line
    assert process.returncode == code
    assert gone(pid)
    assert last(home)["state"] == "cancelled"


def test_a_second_interrupt_leaves_at_once(home: Path, tmp_path: Path) -> None:
    with agent("--name=n1", "--allow=command", home=tmp_path) as stopped:
        with begun(tmp_path, "--", "sh", "-c", "echo $$; exec sleep 1000") as process:
            pid = int(line(process))
            stopped.process.send_signal(signal.SIGSTOP)  # so the first one has no answer
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0.5)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=UNTIL_S)
        took_s = time.monotonic() - began
        stopped.process.send_signal(signal.SIGCONT)
        assert (process.returncode, said.lstrip(b"\n")) == (130, b"parley: interrupted\n")
        assert took_s < 4.0
    assert gone(pid)


def test_a_reader_that_leaves_stops_it(node: Agent, home: Path) -> None:
    with begun(home, "--", "yes") as process:
        assert line(process) == b"y\n"
        assert process.stdout is not None
        process.stdout.close()
        process.wait(UNTIL_S)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (1, b"")
    assert last(home)["state"] == "cancelled"


def test_json_is_one_value_and_the_output_goes_to_stderr(node: Agent, home: Path) -> None:
    code, out, err = run(home, "--json", "--", "sh", "-c", "echo hi; exit 3")
    told = json.loads(out)
    value = {"exit": 3, "out": "hi\n", "err": "", "out_bytes": 3, "err_bytes": 0}
    assert (code, err, told["value"], told["exit"], told["source"]) == (3, b"hi\n", value, 3, "command")
    assert (told["state"], told["node"], told["attempts"]) == ("failed", "n1", 1)


def test_what_parley_says_itself_is_marked(node: Agent, home: Path) -> None:
    code, out, err = run(home, "--json", "--need=gpu", "--", "true")
    told = json.loads(out)
    assert (code, told["exit"], told["source"], told["state"]) == (3, 3, "parley", "unplaced")
    assert err == f"parley: {told['error']}\n".encode()
    code, out, _ = run(home, "--json", "--agent=tcp://127.0.0.1:9", "--", "true")
    told = json.loads(out)
    assert (code, told["exit"], told["source"]) == (4, 4, "parley")
    code, out, _ = run(home, "--json", "--deadline=300ms", "--work=10ms", "--", "sleep", "60")
    told = json.loads(out)
    assert (code, told["exit"], told["source"]) == (124, 124, "parley")


def test_an_interrupt_in_json(node: Agent, home: Path) -> None:
    with begun(home, "--json", "--", "sh", "-c", "echo $$ >&2; exec sleep 1000") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=UNTIL_S)
    assert json.loads(out) == {"error": "interrupted", "exit": 130, "source": "parley"}


def test_it_starts_again_when_its_node_dies(tmp_path: Path) -> None:
    script = "if [ -e again ]; then echo second; else touch again; echo first; sleep 1000; fi"
    with ExitStack() as stack:
        desk = stack.enter_context(agent("--name=n1", home=tmp_path))
        flags = ["--allow=command", f"--join={desk.address}"]
        nodes = [stack.enter_context(agent(f"--name={name}", *flags, home=tmp_path)) for name in ("n2", "n3")]
        there = f"--agent={desk.address}"
        with begun(tmp_path, there, f"--cwd={tmp_path}", "--", "sh", "-c", script) as process:
            assert line(process) == b"first\n"
            on = last(tmp_path, there)["node"]
            [winner] = [one for one in nodes if one.name == on]
            winner.process.kill()
            out, said = process.communicate(timeout=60.0)
        assert (process.returncode, out) == (0, b"second\n")
        again = b"parley: the attempt that wrote this came to nothing; it starts again on another node\n"
        assert said == again
        assert last(tmp_path, there)["node"] != on


def test_it_waits_for_a_node_that_can_run_it(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as desk:
        there = f"--agent={desk.address}"
        with begun(tmp_path, there, "--wait-for-node", "--need=late", "--", "echo", "here") as process:
            give_up = time.monotonic() + UNTIL_S
            reason = ""
            while "it waits for one that can" not in reason and time.monotonic() < give_up:
                told = parley("tasks", "--json", there, env=at_home(tmp_path)).stdout
                reason = "".join(one["reason"] for one in json.loads(told))
            assert reason.startswith("0/1 nodes can run this: 1 "), reason
            with agent("--name=n2", "--tag=late", "--allow=command", f"--join={desk.address}", home=tmp_path):
                assert process.communicate(timeout=60.0) == (b"here\n", b"")
        assert process.returncode == 0


def test_a_person_at_a_terminal_is_told_where_it_runs(node: Agent, home: Path, tmp_path: Path) -> None:
    """And that a terminal is no stdin to hand on."""
    ours, theirs = pty.openpty()
    script = "while [ ! -e go ]; do sleep 0.05; done; echo end"
    command = [*PARLEY, "run", f"--cwd={tmp_path}", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=at_home(home), stdout=subprocess.PIPE, stderr=theirs) as process:
        said = b""
        while b"n1 runs it\r\n" not in said:
            said += os.read(ours, 1024)
        (tmp_path / "go").touch()
        assert process.communicate(timeout=UNTIL_S)[0] == b"end\n"
    assert said.replace(b"\r", b"").endswith(b"parley: n1 runs it\n")
    ended = subprocess.run(
        [*PARLEY, "run", "--stdin", "--", "cat"], env=at_home(home), stdin=theirs, capture_output=True, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"parley: --stdin hands on a file or a pipe, and stdin is a terminal")


def test_files_go_with_it_and_come_back(home: Path, node: Agent) -> None:
    (home / "numbers.txt").write_text("3\n1\n2\n")
    script = "mkdir out && sort in/n.txt > out/sorted.txt && wc -l < numbers.txt"
    files = ("--file", "numbers.txt", "--file", "numbers.txt=in/n.txt")
    code, out, err = run(home, *files, "--keep", "out/sorted.txt", "--", "sh", "-c", script)
    assert (code, out.strip(), err) == (0, b"3", b"")
    assert (home / "out" / "sorted.txt").read_text() == "1\n2\n3\n"
    code, _, err = run(home, "--keep", "nothing", "--", "true")
    assert code == 1
    assert b"nothing" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--file", "nowhere"], b"nowhere is no file"),
        (["--file", "here.txt=../x"], b"'../x' is no name"),
        (["--file", "here.txt", "--file", "here.txt"], b"two files would be called here.txt"),
        (["--keep", "/etc/passwd"], b"'/etc/passwd' is no name"),
        (["--keep", "x", "--cwd", "/"], b"leave --cwd away"),
    ],
)
def test_files_that_cannot_go(home: Path, words: list[str], told: bytes) -> None:
    (home / "here.txt").write_text("x")
    code, _, err = run(home, *words, "--", "true")
    assert (code, told in err, err.count(b"\n")) == (2, True, 1), err


@pytest.mark.parametrize(
    ("told", "value", "shown", "missing"),
    [
        ((b"one\n", 1), {"out": "one\ntwo\n", "out_bytes": 8, "err": "no\n", "err_bytes": 3}, ["two\n", "no\n"], 0),
        ((b"one\n", 1), {"out": "one\n", "out_bytes": 4, "err": "", "err_bytes": 0}, [], 0),
        ((b"one\n", 1), {"out": "…wo\n", "out_bytes": 900, "err": "", "err_bytes": 0}, [], 896),
        ((b"one\n", 2), {"out": "one\n", "out_bytes": 4, "err": "", "err_bytes": 0}, [AGAIN, "one\n"], 0),
        ((b"one\n", 2), {"out": "", "out_bytes": 0, "err": "", "err_bytes": 0}, [AGAIN], 0),
        ((b"", 1), {"out": "one\n", "out_bytes": 4, "err": "", "err_bytes": 0}, ["one\n"], 0),
    ],
    ids=["the rest", "all told", "too large", "begun anew", "anew and silent", "nothing told"],
)
def test_what_was_not_passed_on_as_its_agent_died_is_shown_at_the_end(
    told: tuple[bytes, int], value: dict[str, object], shown: list[str], missing: int
) -> None:
    outlet = Shown()
    following = _Following(outlet)
    data, epoch = told
    if data:
        following.on_output(Stream.OUT, data, 1)
    outlet.words.clear()
    outcome = Outcome("t", State.DONE, pack({"exit": 0, **value}), node="n2", epoch=epoch)
    assert following.catch_up(outcome) == missing
    assert outlet.words == shown
