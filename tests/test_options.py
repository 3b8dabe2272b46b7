"""The flags that commands share, and the form of what stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from parley.launch import options
from parley.launch.discovery import Entry, announced
from parley.launch.options import Address, Allowed, Member, Module, NodeName, TaskName

GOOD: list[tuple[Any, str]] = [
    (NodeName(), "n1"),
    (NodeName(), "Desk-2.lab_x"),
    (NodeName(), "9" * 64),
    (TaskName(), "27q0qy6pcwnx/1"),
    (TaskName(), "9" * 64),
    (Address(), "tcp://127.0.0.1:4100"),
    (Address(), "tcp://[::1]:4100"),
    (Address(), "tcp://*:0"),
    (Address(), "ipc:///run/n1"),
    (Module(), "mine"),
    (Module(), "pkg.mod:func"),
    (Member(), "pkg.mod:Class.Inner"),
    (Allowed(), "command"),
    (Allowed(), "pkg.mod:func"),
    (Allowed(), "pkg.mod:*"),
    (Allowed(), "command:run"),
]
BAD: list[tuple[Any, str, str]] = [
    (NodeName(), "", "is no name for a node"),
    (NodeName(), "n 1", "is no name for a node"),
    (NodeName(), ".n1", "is no name for a node"),
    (NodeName(), "../n1", "is no name for a node"),
    (NodeName(), "n1\n", "is no name for a node"),
    (NodeName(), "9" * 65, "64 at most"),
    (TaskName(), "", "names no task"),
    (TaskName(), "my task", "names no task"),
    (TaskName(), "\udcff", "names no task"),
    (TaskName(), "9" * 65, "names no task"),
    (Address(), "here", "is no address: write tcp://host:port or ipc://path"),
    (Address(), "http://here", "is no address"),
    (Address(), "tcp://", "is no address"),
    (Address(), "tcp://a b:1", "is no address"),
    (Module(), "bids.py:", "names no module"),
    (Module(), "./bids", "names no module"),
    (Member(), "pkg.mod", "names nothing in a module"),
    (Allowed(), "comand", "'comand' cannot be allowed: did you mean command?"),
    (Allowed(), "*", "cannot be allowed: write pkg.mod:func, pkg.mod:* or the word command"),
    (Allowed(), "pkg.*:func", "cannot be allowed"),
    (Allowed(), "python", "cannot be allowed"),
]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_what_is_taken_is_taken_as_it_is(kind: Any, text: str) -> None:
    assert kind.convert(text, None, None) == text


@pytest.mark.parametrize(("kind", "text", "sentence"), BAD)
def test_what_is_refused(kind: Any, text: str, sentence: str) -> None:
    with pytest.raises(click.BadParameter) as refusal:
        kind.convert(text, None, None)
    assert repr(text) in refusal.value.message
    assert sentence in refusal.value.message


@click.command()
@options.agents
@options.as_json
def told(agents: tuple[str, ...], as_json: bool) -> None:
    click.echo(f"{agents} {as_json}")


def test_the_agent_is_a_flag_or_a_variable() -> None:
    run = CliRunner().invoke
    assert run(told, []).output == "() False\n"
    assert run(told, ["--agent=tcp://a:1", "--agent=tcp://b:2", "--json"]).output == "('tcp://a:1', 'tcp://b:2') True\n"
    assert run(told, [], env={"PARLEY_AGENT": "tcp://a:1 tcp://b:2"}).output == "('tcp://a:1', 'tcp://b:2') False\n"
    assert run(told, ["--agent=tcp://c:3"], env={"PARLEY_AGENT": "tcp://a:1"}).output == "('tcp://c:3',) False\n"


def test_the_agents_of_this_machine_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    context, option = click.Context(told), told.params[0]
    assert Address().shell_complete(context, option, "") == []
    with announced(Entry("n1", "tcp://127.0.0.1:4100", 1)):
        [item] = Address().shell_complete(context, option, "tcp://")
        assert (item.value, item.help) == ("tcp://127.0.0.1:4100", "n1")
        assert Address().shell_complete(context, option, "ipc://") == []
