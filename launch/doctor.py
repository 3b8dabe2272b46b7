"""`parley doctor`: what is wrong here, in words, and what to do about each.

    this machine : Python and libraries, extras, cores and memory, open files, clock, folders, sockets, settings
    its agents   : `doctor_agents.py`: those that run here, the fleet of the one that is talked to, model servers

The idea: every check is a function that answers with findings, and a finding that is wrong says what to do. What is
only worth knowing is a note. Nothing is changed, and nothing that runs is disturbed.

Invariant: a check that cannot be made is a finding too; no check ends the others.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from . import config, discovery, doctor_agents, keys, machine
from .findings import Finding, note, ok, wrong
from .places import state_folder
from .problems import Problem

DISK_BYTES_MIN = 256 * 1024 * 1024
FILES_MIN = 1_024
"""Each peer takes a handful of open files, each worker and each client some more."""
CLOCK_STEP_S = 0.5
"""By so much the wall clock may differ from the steady one while the checks are made."""
PYTHON_MIN = (3, 11)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?[^;]*(?:;.*extra\s*==\s*['\"](\w+)['\"])?")


async def examine(agents: Sequence[str]) -> list[Finding]:
    """All findings; `agents` are those of --agent."""
    wall, steady = time.time(), time.monotonic()
    checks = (check_python, check_libraries, check_extras, check_machine, check_files, check_folders, check_sockets)
    findings = [finding for check in checks for finding in _made(check)]
    settings, about_settings = check_settings()
    findings += about_settings
    if keys.named() is None:
        keys.use(settings.keys)
    findings += await doctor_agents.check_agents()
    findings += await doctor_agents.check_fleet(agents or settings.agent)
    servers = config.holding("up.http", settings)
    assert isinstance(servers, tuple)
    for told in await asyncio.gather(*map(doctor_agents.check_server, servers)):
        findings += told
    return [*findings, *check_clock(time.time() - wall, time.monotonic() - steady)]


def _made(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except OSError as error:
        name = check.__name__.removeprefix("check_")
        return [wrong(name, f"it cannot be looked at: {error}", "see what the system says to that")]


# --- Python ----------------------------------------------------------------------------------------------------------


def check_python() -> list[Finding]:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    if sys.version_info[:2] < PYTHON_MIN:
        return [wrong("python", found, f"use Python {'.'.join(map(str, PYTHON_MIN))} or newer")]
    return [ok("python", found)]


def requirements() -> list[tuple[str, str, str]]:
    """What parley asks for: a library, the least version ("": any), the extra that it belongs to ("": none)."""
    matches = [_REQUIREMENT.match(line) for line in metadata.requires("parley") or []]
    return [(found[1], found[2] or "", found[3] or "") for found in matches if found]


def check_libraries() -> list[Finding]:
    """Those that are needed, in versions that will do."""
    there, findings = [f"parley {metadata.version('parley')}"], []
    for name, least, extra in requirements():
        if extra:
            continue
        found = installed(name)
        if found is None:
            findings.append(wrong("libraries", f"{name} is missing", f"pip install '{name}>={least}'"))
        elif _numbers(found) < _numbers(least):
            findings.append(wrong("libraries", f"{name} {found} is too old", f"pip install '{name}>={least}'"))
        else:
            there.append(f"{name} {found}")
    return [ok("libraries", ", ".join(there)), *findings]


def check_extras() -> list[Finding]:
    """Those that need not be there."""
    extras: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra and extra != "dev":
            extras.setdefault(extra, []).append(name)
    findings = []
    for extra, names in sorted(extras.items()):
        if all(installed(name) for name in names):
            findings.append(ok("extras", f"{extra}: {', '.join(f'{name} {installed(name)}' for name in names)}"))
        else:
            findings.append(note("extras", f"{extra} is not installed; pip install 'parley[{extra}]' adds it"))
    return findings


def installed(name: str) -> str | None:
    """The version of a library, if it is there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """1.10 is newer than 1.9; what follows the numbers does not count."""
    matched = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, matched[0].split("."))) if matched else ()


# --- the machine -----------------------------------------------------------------------------------------------------


def check_machine() -> list[Finding]:
    """What a node here would offer."""
    from ..agents.resources import quantity

    cores, built_in = machine.cores(), os.cpu_count() or 1
    counted = f"{cores} of {built_in} cores" if cores != built_in else f"{cores} {'core' if cores == 1 else 'cores'}"
    memory = quantity("memory", machine.memory_bytes())
    offered = quantity("memory", machine.capacity()["memory"])
    return [ok("machine", f"{counted} and {memory} of memory, of which a node offers {offered}")]


def check_files() -> list[Finding]:
    """How many may be open."""
    limit = machine.files_max()
    if limit is not None and limit < FILES_MIN:
        return [wrong("files", f"only {limit:,} files may be open at a time", f"ulimit -n {4 * FILES_MIN}")]
    return [ok("files", "any number may be open" if limit is None else f"{limit:,} may be open at a time")]


def check_folders() -> list[Finding]:
    """Where agents are found, and where they keep their logs."""
    findings = []
    try:
        findings.append(ok("folders", f"{discovery.made()} can be written"))
    except Problem as problem:
        findings.append(wrong("folders", *_parted(str(problem))))
    return [*findings, *_check_state(state_folder())]


def _parted(sentence: str) -> tuple[str, str]:
    """What is wrong, and what to do: the part behind the last mark."""
    for mark in ("; ", ": "):
        found, sign, do = sentence.rpartition(mark)
        if sign:
            return found, do
    return sentence, "look at its owner and its rights"


def _check_state(place: Path) -> list[Finding]:
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return [wrong("folders", f"{there} cannot be written: {why}", "set XDG_STATE_HOME, or give `up` a --folder")]
    usage = shutil.disk_usage(there)
    full = f"the disk is {100 * (usage.total - usage.free) / max(usage.total, 1):.0f} % full"
    if usage.free < DISK_BYTES_MIN:
        left = f"{full}, {usage.free // 2**20:,} MiB are left"
        return [wrong("disk", f"{place}: {left}", "make room: logs grow, and old runs may go")]
    return [ok("folders", f"{place} can be {'written' if place.exists() else 'made'}; {full}")]


def check_sockets() -> list[Finding]:
    """Can an agent listen?"""
    try:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            with socket.create_connection(listening.getsockname(), 2.0):
                pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return [wrong("sockets", f"nobody can listen at 127.0.0.1: {why}", "look at `ip addr show lo`, and firewalls")]
    return [ok("sockets", "an agent can listen at 127.0.0.1, and be reached there")]


def check_clock(wall_s: float, steady_s: float) -> list[Finding]:
    """Both clocks have run alike while the checks were made; and it is later than when this was installed."""
    now = datetime.now(UTC)
    if abs(wall_s - steady_s) > CLOCK_STEP_S:
        found = f"the clock was set by {wall_s - steady_s:+.1f} s just now"
        return [wrong("clock", found, "let a time service such as chrony keep it, in small steps")]
    if now.timestamp() < Path(__file__).stat().st_mtime:
        found = f"it is {now:%Y-%m-%d %H:%M} UTC by the clock, which is before parley was installed"
        return [wrong("clock", found, "set the clock, or let a time service such as chrony do it")]
    return [ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")]


# --- settings --------------------------------------------------------------------------------------------------------


def check_settings() -> tuple[config.Settings, list[Finding]]:
    """What the sound files say, and what is wrong with the others."""
    settings, findings = config.Settings(), []
    for file in config.places():
        if not os.path.lexists(file):
            continue
        read, faults = config.check(file)
        if not faults:
            settings = settings.over(read)
            findings.append(ok("settings", f"{config.shown(file)}: {', '.join(read.values) or 'nothing'} set"))
        findings += [wrong("settings", str(fault), "mend it; `parley config check` looks again") for fault in faults]
    findings += [wrong("settings", str(fault), "mend or unset the variable") for fault in config.check_environment()]
    if variables := config.variables():
        findings.append(ok("settings", f"the environment sets {', '.join(variables)}"))
    return settings, findings or [ok("settings", "there are none, neither in files nor in the environment")]
