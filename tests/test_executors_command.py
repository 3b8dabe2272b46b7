"""What a command is given and what it leaves: its end, its folder, its environment, its input, its output."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from command_nodes import node

from parley.agents.executors.base import Attempt
from parley.agents.executors.command import NAME_CHARS_MAX, TAIL_BYTES_MAX, CommandExecutor, Tail
from parley.agents.payload import pack
from parley.protocols.core import ProtocolError, Task
from parley.protocols.performatives import OUTPUT_UNREAD_MAX, Finished, Output, Reason, Stream

MIB = 1024 * 1024
GB = 1_000_000_000


def python(program: str) -> tuple[str, ...]:
    return sys.executable, "-IS", "-c", program


# --- how it ends -----------------------------------------------------------------------------------------------------


async def test_a_command_is_done_when_it_exits_with_0() -> None:
    async with node() as n:
        result = await n.run("sh", "-c", "echo out; echo err >&2")
        assert result[:-1] == (None, "", 0, "out\n", "err\n", 4, 4)
        assert result.seconds > 0.0
        assert (await n.run("true"))[:-1] == (None, "", 0, "", "", 0, 0)


EXITS = [
    ("exit 1", 1, "sh exited with 1"),
    ("exit 255", 255, "sh exited with 255"),
    ("echo heard; echo 'what went wrong' >&2; exit 3", 3, "sh exited with 3: what went wrong"),
    ("printf 'first\\nlast\\n\\n  \\n' >&2; exit 3", 3, "sh exited with 3: last"),
    ("printf '10%%\\r20%%\\rno space' >&2; exit 3", 3, "sh exited with 3: no space"),
    ("printf '\\033[31mred\\tface' >&2; exit 3", 3, "sh exited with 3: [31mred face"),
    ("no-such-command-here 2>/dev/null", 127, "sh exited with 127"),
    ("kill -KILL $$", 137, "sh was killed by signal 9 (SIGKILL)"),
    ("kill -TERM $$", 143, "sh was killed by signal 15 (SIGTERM)"),
    ("kill -PIPE $$", 141, "sh was killed by signal 13 (SIGPIPE)"),
    ("echo 'the last words' >&2; kill -SEGV $$", 139, "sh was killed by signal 11 (SIGSEGV): the last words"),
    ("kill -40 $$", 168, "sh was killed by signal 40"),
]


async def test_exit_codes_and_sentences() -> None:
    async with node() as n:
        for program, code, error in EXITS:
            result = await n.run("sh", "-c", program)
            assert (result.reason, result.exit, result.error) == (Reason.ERROR, code, error)


async def test_a_long_complaint_is_cut() -> None:
    async with node() as n:
        result = await n.run("sh", "-c", "head -c 10000 /dev/zero | tr '\\0' x >&2; exit 1")
        assert result.error == "sh exited with 1: " + "x" * 500


async def test_what_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "broken").write_bytes(b"\x7fELF and no more")
    (tmp_path / "broken").chmod(0o755)
    long = "n" * 10_000
    async with node() as n:
        for argv, code, error in (
            (["no-such-command-here"], 127, "no-such-command-here is not found on this node"),
            ([f"{tmp_path}/missing"], 127, f"{tmp_path}/missing is not found on this node"),
            ([f"{tmp_path}/text/under"], 127, f"{tmp_path}/text/under is not found on this node"),
            (["two\nlines"], 127, "two lines is not found on this node"),
            ([f"{tmp_path}/text"], 126, f"{tmp_path}/text cannot be executed on this node: Permission denied"),
            ([f"{tmp_path}"], 126, f"{tmp_path} cannot be executed on this node: Permission denied"),
            ([f"{tmp_path}/broken"], 126, f"{tmp_path}/broken cannot be executed on this node: Exec format error"),
            ([long], 126, f"{long[:NAME_CHARS_MAX]} cannot be executed on this node: File name too long"),
            (["true", "x" * 200_000], 126, "true cannot be executed on this node: Argument list too long"),
        ):
            result = await n.run(*argv)
            assert result[:-1] == (Reason.ERROR, error, code, "", "", 0, 0)
        assert (await n.run("true")).exit == 0


# --- where, with what, beside what -----------------------------------------------------------------------------------


async def test_no_shell_ever_reads_the_words() -> None:
    words = ["$HOME", "*", "; exit 3", "`id`", "a  b", "", "'", '"', "\\", "\n", "é", "--"]
    async with node() as n:
        result = await n.run(*python("import sys; print(ascii(sys.argv[1:]))"), *words)
        assert result.out == ascii(words) + "\n"


async def test_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tool").write_text("#!/bin/sh\necho tool in $PWD\n")
    (tmp_path / "tool").chmod(0o755)
    async with node() as n:
        assert (await n.run("pwd", "-P")).out == f"{Path.cwd().resolve()}\n"
        assert (await n.run("pwd", "-P", cwd=str(tmp_path))).out == f"{tmp_path.resolve()}\n"
        assert (await n.run("./tool", cwd=str(tmp_path))).out == f"tool in {tmp_path}\n"
        for name, program, why in (
            ("missing", "true", "No such file or directory"),
            ("missing", "no-such-command-here", "No such file or directory"),
            ("file", "true", "Not a directory"),
        ):
            folder = f"{tmp_path}/{name}"
            result = await n.run(program, cwd=folder)
            assert (result.reason, result.exit) == (Reason.ERROR, 126)
            assert result.error == f"{program} cannot be run in {folder}: {why}"


async def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("OF_THE_AGENT", "inherited")
    monkeypatch.setenv("PARLEY_AGENT", "another")
    show = ["sh", "-c", 'echo "$PARLEY_AGENT,$PARLEY_TASK,$PARLEY_EPOCH,$OF_THE_AGENT,$MINE"']
    async with node(CommandExecutor(env={"PARLEY_AGENT": "tcp://127.0.0.1:7777", "MINE": "é"})) as n:
        assert (await n.run(*show)).out == "tcp://127.0.0.1:7777,t1,3,inherited,é\n"
        result = await n.run(*show, env={"MINE": "the task's", "PARLEY_AGENT": "its own", "OF_THE_AGENT": ""})
        assert result.out == "its own,t2,3,,the task's\n"
        assert (await n.run("tool")).exit == 127
        assert (await n.run("tool", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})).out == "found\n"


async def test_a_command_leads_its_own_session_and_inherits_nothing() -> None:
    program = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd')))"
    async with node() as n:
        others = [n.begin("sleep", "1000", stdin="x") for _ in range(3)]
        result = await n.run(*python(program))
        assert result.out == "True ['0', '1', '2', '3']\n"  # 3 is how it lists them
        for other in others:
            other.stop()


async def test_signals_are_as_a_command_expects_them() -> None:
    """Python ignores SIGPIPE and would hand that on. Whoever runs this under nohup means its commands as well."""
    program = "import signal; print([int(s) for s in signal.valid_signals() if s > 2 and signal.getsignal(s)], end='')"
    known = sum(1 << (number - 1) for number in signal.valid_signals())  # 32 and 33 are the C library's own business
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        known &= ~1
    async with node() as n:
        result = await n.run("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
        assert [int(line.split()[1], 16) & known for line in result.out.splitlines()] == [0, 0]
        assert (await n.run("sh", "-c", "yes | head -n 1")).out == "y\n"
        assert "13" not in (await n.run(*python(program))).err


# --- its input -------------------------------------------------------------------------------------------------------


async def test_input_as_text_as_bytes_and_none() -> None:
    async with node() as n:
        assert (await n.run("cat", stdin="text é\n")).out == "text é\n"
        assert (await n.run("cat", stdin=b"\x00bytes")).out == "\0bytes"
        assert (await n.run("cat", stdin="")).out == ""
        assert (await n.run("cat")).out == ""


async def test_input_larger_than_a_pipe() -> None:
    async with node() as n:
        data = bytes(range(256)) * (3 * MIB // 256)
        assert (await n.run("wc", "-c", stdin=data)).out.strip() == str(len(data))
        running = n.begin("cat", stdin=data, follow=True)
        assert (await running.result()).out_bytes == len(data)
        assert running.told[Stream.OUT] == data


async def test_input_that_is_not_read_harms_nobody() -> None:
    async with node() as n:
        data = b"x" * (3 * MIB)
        assert (await n.run("true", stdin=data)).exit == 0
        assert (await n.run("head", "-c", "3", stdin=data)).out == "xxx"
        assert (await n.run("sh", "-c", "exec 0<&-; echo closed", stdin=data)).out == "closed\n"
        assert (await n.run("sleep", "1000", stdin=data, timeout_s=0.2)).exit == 124
        assert (await n.run("no-such-command-here", stdin=data)).exit == 127


# --- its output ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "é", "€", "𝄞"])
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_a_tail_begins_with_a_whole_character(letter: str, offset: int) -> None:
    size = len(letter.encode())
    tail = Tail()
    text = letter * (TAIL_BYTES_MAX // size + 1000) + "." * offset
    data = text.encode()
    for begin in range(0, len(data), 60_000):
        tail.add(data[begin : begin + 60_000])
    kept = tail.text()
    assert text.endswith(kept)
    assert TAIL_BYTES_MAX - size < len(kept.encode()) <= TAIL_BYTES_MAX
    assert tail.size == len(data)


def test_a_tail_replaces_what_is_no_character() -> None:
    tail = Tail()
    tail.add(b"\x80\xff\xc3")
    assert tail.text() == "\ufffd" * 3
    tail.add(b"\x80" * TAIL_BYTES_MAX)
    assert tail.text() == "\ufffd" * (TAIL_BYTES_MAX // 3)
    assert Tail().text() == ""


async def test_the_ends_of_both_streams_are_kept() -> None:
    program = (
        "import sys; o = sys.stdout.buffer; e = sys.stderr.buffer\n"
        "for i in range(20_000): o.write(f'€{i}\\n'.encode()); e.write(f'𝄞{i}\\n'.encode())\n"
    )
    async with node() as n:
        result = await n.run(*python(program))
        for letter, kept, size in (("€", result.out, result.out_bytes), ("𝄞", result.err, result.err_bytes)):
            whole = "".join(f"{letter}{i}\n" for i in range(20_000))
            assert size == len(whole.encode())
            assert whole.endswith(kept)
            assert TAIL_BYTES_MAX - 4 < len(kept.encode()) <= TAIL_BYTES_MAX


async def test_followed_output_comes_as_it_is_written() -> None:
    async with node() as n:
        running = n.begin("sh", "-c", "echo first; echo second >&2; sleep 1000", follow=True)
        await running.until(13)
        assert running.told == {Stream.OUT: b"first\n", Stream.ERR: b"second\n"}
        assert not running.end.done()
        running.stop()


async def test_no_more_is_told_than_may_be_unread() -> None:
    async with node() as n:
        size = 3 * MIB
        running = n.begin("head", "-c", str(size), "/dev/zero", follow=True, reads=False)
        await running.until(OUTPUT_UNREAD_MAX)
        assert (await n.run("true")).exit == 0  # another ends meanwhile
        assert running.size == OUTPUT_UNREAD_MAX
        assert not running.end.done()
        step = 100_000
        while running.size + step <= size:  # one step at a time
            reached = running.size + step
            running.read(step)
            await running.until(reached)
            assert running.size == reached
        running.reads = True
        running.read(running.unread)
        assert (await running.result()).out_bytes == running.size == size


async def test_nobody_reads_the_output_of_a_command_that_ends_or_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.agents.executors.command.LAST_WORDS_S", 0.1)
    async with node() as n:
        ended = n.begin("head", "-c", str(OUTPUT_UNREAD_MAX + 50_000), "/dev/zero", follow=True, reads=False)
        blocked = n.begin("cat", "/dev/zero", follow=True, reads=False, timeout_s=1.0)
        stopped = n.begin("cat", "/dev/zero", follow=True, reads=False)
        for running in (ended, blocked, stopped):
            await running.until(OUTPUT_UNREAD_MAX)
        stopped.stop()
        assert (await blocked.result()).exit == 124
        assert not ended.end.done()  # it has exited, and its last words wait to be read
        ended.read(OUTPUT_UNREAD_MAX)
        assert (await ended.result()).out_bytes == ended.size == OUTPUT_UNREAD_MAX + 50_000
        assert stopped.size == OUTPUT_UNREAD_MAX
        assert not stopped.end.done()


@pytest.mark.parametrize("follow", [False, True])
async def test_a_gigabyte_of_output_takes_no_memory(follow: bool) -> None:
    me = psutil.Process()
    size = GB if not follow else GB // 4
    async with node() as n:
        await n.run("true")
        before = most = me.memory_info().rss
        running = n.begin("head", "-c", str(size), "/dev/zero", follow=follow)
        running.keeps = False
        while not (await asyncio.wait([running.end], timeout=0.02))[0]:
            most = max(most, me.memory_info().rss)
        result = await running.result()
        assert result.out_bytes == size
        assert running.size == (size if follow else 0)
        assert most - before < 16 * MIB


# --- what may be asked -----------------------------------------------------------------------------------------------

TAKES = 'command takes {"argv": [text, ...]} and, if wanted, "cwd", '


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        (None, ", and nothing else"),
        ("ls", ", and nothing else"),
        (["ls"], ", and nothing else"),
        ({"argv": ["ls"], "shell": True}, ", and nothing else"),
        ({"argv": ["ls"], 1: 2}, ", and nothing else"),
        ({}, ": argv must be a list of text that begins with a program"),
        ({"argv": "ls -l"}, ": argv must be a list of text that begins with a program"),
        ({"argv": []}, ": argv must be a list of text that begins with a program"),
        ({"argv": [""]}, ": argv must be a list of text that begins with a program"),
        ({"argv": ["ls", 1]}, ": argv must be a list of text that begins with a program"),
        ({"argv": [b"ls"]}, ": argv must be a list of text that begins with a program"),
        ({"argv": ["ls", "a\0b"]}, ": argv must be a list of text that begins with a program"),
        ({"argv": ["ls"], "cwd": ""}, ": cwd must be the path of a folder"),
        ({"argv": ["ls"], "cwd": 7}, ": cwd must be the path of a folder"),
        ({"argv": ["ls"], "cwd": "a\0b"}, ": cwd must be the path of a folder"),
        ({"argv": ["ls"], "env": None}, ": env must be names with text"),
        ({"argv": ["ls"], "env": ["A=1"]}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {"A": 1}}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {"A": "a\0b"}}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {"": "x"}}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {"A=B": "x"}}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {"A\0": "x"}}, ": env must be names with text"),
        ({"argv": ["ls"], "env": {1: "x"}}, ": env must be names with text"),
        ({"argv": ["ls"], "stdin": None}, ": stdin must be text or bytes"),
        ({"argv": ["ls"], "stdin": ["x"]}, ": stdin must be text or bytes"),
    ],
)
async def test_arguments_that_are_no_command(argument: object, complaint: str) -> None:
    async with node() as n:
        error = await n.refusal(pack(argument))
        assert error.startswith(TAKES)
        assert error.endswith(complaint)


async def test_bytes_that_are_no_arguments() -> None:
    async with node() as n:
        assert (await n.refusal(b"")).endswith(", and nothing else")
        for payload in (b"\xc1", b"\x81", pack({"argv": ["ls"]}) + b"\x01", b"\x92" * 1000):
            error = await n.refusal(payload)
            assert error
            assert "\n" not in error
        assert not psutil.Process().children()  # and no guard was started for any of them


async def test_where_commands_are_not_allowed() -> None:
    executor = CommandExecutor(allowed=False)
    assert not executor.offers("command")
    async with node(executor) as n:
        assert await n.refusal(pack({"argv": ["true"]})) == (
            "this node does not run command: start it with --allow command"
        )


async def test_what_it_offers() -> None:
    executor = CommandExecutor()
    assert [executor.offers(kind) for kind in ("command", "commands", "sleep", "os:system")] == [True] + [False] * 3
    assert executor.tags == ()
    assert executor.price(Task(id="t", kind="command")) is None
    for speed in (0.0, -1.0):
        with pytest.raises(ValueError, match="above zero"):
            CommandExecutor(speed=speed)


async def test_an_attempt_that_runs_cannot_begin_again() -> None:
    async with node() as n:
        running = n.begin("sleep", "1000")
        task = Task(id=running.task, kind="command")
        with pytest.raises(ProtocolError):
            n.executor.start(Attempt(task, running.epoch, b""), running.tell)
        another: asyncio.Future[Finished | Output] = asyncio.get_running_loop().create_future()
        n.executor.start(Attempt(task, running.epoch + 1, pack({"argv": ["true"]})), another.set_result)
        assert isinstance(await another, Finished)
        running.stop()


# --- many ------------------------------------------------------------------------------------------------------------


async def test_several_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each waits for all others to have begun."""
    program = "touch $0/$1; while [ $(ls $0 | wc -l) -lt 8 ]; do sleep 0.01; done; echo $1"
    async with node() as n:
        running = [n.begin("sh", "-c", program, str(tmp_path), str(i)) for i in range(8)]
        assert [(await one.result()).out for one in running] == [f"{i}\n" for i in range(8)]


async def test_many_in_a_row_leave_nothing_behind() -> None:
    async with node() as n:
        guard = await n.guard()
        mine, its = psutil.Process().num_fds(), guard.num_fds()
        for i in range(200):
            result = await n.run("sh", "-c", f"cat; exit {i % 2}", stdin=str(i))
            assert (result.exit, result.out) == (i % 2, str(i))
        for program, code in (("no-such-command-here", 127), ("true", 0)):
            assert (await n.run(program)).exit == code
        assert (psutil.Process().num_fds(), guard.num_fds()) == (mine, its)
        assert guard.children() == []
        assert psutil.Process().children() == [guard]


async def test_two_hundred_at_once() -> None:
    """More than the guard's socket takes at a time."""
    async with node() as n:
        running = [n.begin("cat", stdin=str(i), env={"FILLER": "x" * 2000}) for i in range(200)]
        assert [(await one.result()).out for one in running] == [str(i) for i in range(200)]


async def test_arguments_of_a_megabyte() -> None:
    async with node() as n:
        result = await n.run("echo", *["x" * 100_000] * 10)
        assert result.out_bytes == 1_000_010


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """As many as are open now, and one more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    fill = [os.open(os.devnull, os.O_RDONLY)]
    while fill[-1] < highest:
        fill.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(highest, fill[-1]) + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)


async def test_a_node_that_has_no_descriptors_left_says_so() -> None:
    async with node() as n:
        for warm in (False, True):
            if warm:
                await n.guard()
            with no_more_descriptors():
                finished = await n.ask(pack({"argv": ["true"]})).end
            assert finished.reason is Reason.DIED
            assert os.strerror(errno.EMFILE) in finished.error
            assert "\n" not in finished.error
        assert (await n.run("true")).exit == 0


async def test_a_slow_node_takes_longer_in_proportion() -> None:
    burn = python("import time\nwhile time.process_time() < 0.2: pass")
    async with node(CommandExecutor(speed=1.0, fastest=3.0)) as n:
        assert (await n.run(*burn)).seconds >= 0.6
        assert (await n.run("sh", "-c", '"$0" "$@" || exit 1', *burn)).seconds >= 0.6  # what its children use counts
        slow = await n.run(*burn, timeout_s=0.4)
        assert (slow.reason, slow.exit) == (Reason.TIMEOUT, 124)
