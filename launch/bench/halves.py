"""Two networks with one cable between them, which can be pulled: for partitions as they really are.

Two network namespaces, each with one address, joined by a bridge in a third. Pulling the cable takes one of them off
the bridge: no interface goes down and nobody is told, packets are just lost. Needs root and iproute2.

    left ...1 ---- bridge ---- right ...2
                     |
                  outside ...3, if it is asked for: who sees both sides, and of a cut network the left one

Invariant: nothing is left behind, for namespaces take their interfaces along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..problems import Problem

SIDES = ("left", "right")


def why_not() -> str:
    """Why there can be no halves here; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    try:
        with halves():
            return ""
    except Problem as problem:
        return str(problem)


class Halves:
    """Made by `halves`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def within(self, side: int) -> list[str]:
        """The command that runs another one on this side."""
        return ["ip", "netns", "exec", f"{self._prefix}{SIDES[side]}"]

    def address(self, side: int) -> str:
        return f"{_network()}.{side + 1}"

    def pull(self) -> None:
        """From now on nothing goes from side to side."""
        _ip(f"-n {self._prefix}middle link set right nomaster")

    def plug(self) -> None:
        _ip(f"-n {self._prefix}middle link set right master bridge")


def _network() -> str:
    """Its own for each process: others may have theirs at the same time."""
    return f"10.{64 + os.getpid() // 256 % 64}.{os.getpid() % 256}"


@contextmanager
def halves(*, outside: bool = False) -> Iterator[Halves]:
    """`outside`: this process is to reach them. Raises Problem if this machine will not have it."""
    prefix = f"parley-{os.getpid()}-"
    names = [f"{prefix}{name}" for name in (*SIDES, "middle")]
    try:
        for name in names:
            _ip(f"netns add {name}")
            _ip(f"-n {name} link set lo up")
        middle = names[-1]
        _ip(f"-n {middle} link add bridge type bridge")
        _ip(f"-n {middle} link set bridge up")
        for place, side in enumerate(SIDES):
            _ip(f"-n {middle} link add {side} type veth peer name out netns {names[place]}")
            _ip(f"-n {middle} link set {side} master bridge up")
            _ip(f"-n {names[place]} address add {_network()}.{place + 1}/24 dev out")
            _ip(f"-n {names[place]} link set out up")
        if outside:
            own = f"parley{os.getpid()}"
            _ip(f"link add {own} type veth peer name outside netns {middle}")
            _ip(f"-n {middle} link set outside master bridge up")
            _ip(f"address add {_network()}.3/24 dev {own}")
            _ip(f"link set {own} up")
        yield Halves(prefix)
    finally:
        for name in names:
            with suppress(Problem):
                _ip(f"netns del {name}")


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"this machine makes no such network (ip {words}: {done.stderr.strip()})")
