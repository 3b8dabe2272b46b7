"""What this machine has: read from the system's own files, laid out here as the system lays them out."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from parley.launch import machine

GIB = 2**30
NO_LIMIT = 9_223_372_036_854_771_712
"""What the first hierarchy says where nobody limits anything."""


def laid_out(root: Path, own: str, limits: dict[str, str]) -> int | None:
    for name, text in limits.items():
        file = root / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (root / "own").write_text(own + "\n")
    return machine.group_memory_bytes(root / "groups", root / "own")


def test_the_least_of_a_group_and_those_above_it(tmp_path: Path) -> None:
    limits = {"memory.max": "max", "a/memory.max": str(2 * GIB), "a/b/memory.max": str(4 * GIB)}
    assert laid_out(tmp_path, "0::/a/b", limits) == 2 * GIB


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    assert laid_out(tmp_path, "0::/docker/12ab", {"memory.max": str(GIB)}) == GIB
    assert laid_out(tmp_path, "0::/../other", {"memory.max": str(GIB)}) == GIB


def test_the_first_hierarchy(tmp_path: Path) -> None:
    own = "5:cpu,cpuacct:/a\n4:memory:/a\n0::/"
    limits = {"memory/memory.limit_in_bytes": str(NO_LIMIT), "memory/a/memory.limit_in_bytes": str(GIB)}
    assert laid_out(tmp_path, own, limits) == GIB


@pytest.mark.parametrize("own", ["", "nonsense", "0::/", "4:memory:/a"])
def test_nobody_limits_it(own: str, tmp_path: Path) -> None:
    assert laid_out(tmp_path, own, {"memory.max": "max"}) is None


def test_a_system_without_groups(tmp_path: Path) -> None:
    assert machine.group_memory_bytes(tmp_path, tmp_path / "own") is None


def test_the_smaller_of_what_is_built_in_and_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = machine.memory_bytes()
    assert built_in > 0
    monkeypatch.setattr(machine, "group_memory_bytes", lambda: NO_LIMIT)
    whole = machine.memory_bytes()
    monkeypatch.setattr(machine, "group_memory_bytes", lambda: 1_000)
    assert (machine.memory_bytes(), whole >= built_in) == (1_000, True)


def test_nodes_of_one_machine_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 4_000)
    assert machine.capacity() == {"cpu": 6.0, "memory": 3_600.0}
    assert machine.capacity(4) == {"cpu": 1.5, "memory": 900.0}


def test_cores_are_those_it_may_run_on() -> None:
    may = os.sched_getaffinity(0)
    assert machine.cores() == len(may)
    os.sched_setaffinity(0, {min(may)})
    try:
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, may)


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, 4_096))
    assert machine.files_max() == 256
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert machine.files_max() is None


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("desk", "desk"),
        ("desk.example.org", "desk"),
        ("Büro 2", "B-ro-2"),
        ("-x", "x"),
        ("_x", "x"),
        ("", "node"),
        ("..", "node"),
        ("中文", "node"),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_machines_name_becomes_a_nodes(host: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from parley.launch.options import NodeName

    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert machine.host_name() == NodeName().convert(name, None, None)
