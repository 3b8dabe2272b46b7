"""`parley bench`: what lies at the places that were named, which protocols it is asked of, and all runs of them.

    instances    divisions and assignments (instances.py): sessions on the simulated fleet or between processes, or a
                 consensus on a topology
    traces       arrivals over time (online.py)
    workflows    tasks after tasks (workflows.py)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..problems import Exit, Problem, did_you_mean
from . import allocations, consensus, instances, online, processes, sessions, workflows
from .allocations import Setting
from .contractors import POLICIES
from .instances import GENERATED, Instance

PROTOCOLS = (*sessions.PROTOCOLS, *consensus.PROTOCOLS)
ALL = "all"
USUAL = {"instances": "prices", "traces": "contract-net", "workflows": "contract-net"}
KNOWN = {"instances": PROTOCOLS, "traces": POLICIES, "workflows": POLICIES}

Line = allocations.Line | online.Line | workflows.Line


@dataclass(frozen=True, slots=True)
class Found:
    """What lies there."""

    instances: list[Instance]
    traces: list[online.Trace]
    workflows: list[workflows.Workflow]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of all of it. `protocols` empty: what is usual; `load`, `probes` and `speeds`: of traces, the last
    of workflows as well."""

    protocols: tuple[str, ...]
    modes: tuple[str, ...]
    on: str
    seeds: tuple[int, ...]
    setting: Setting
    load: float
    probes: tuple[int, ...]
    speeds: tuple[float, ...]


def find(places: Sequence[str], sense: str | None = None, requests: int | None = None) -> Found:
    """Files, folders (all that are in them and can be read) and generators. Raises Problem."""
    found = Found([], [], [])
    for place in places:
        path = Path(place)
        if GENERATED.fullmatch(place):
            found.instances.append(instances.generated(place))
        elif online.GENERATED.fullmatch(place):
            found.traces.append(online.generated(place))
        elif workflows.GENERATED.fullmatch(place):
            found.workflows.append(workflows.generated(place))
        elif path.is_dir():
            before = _count(found)
            for file in sorted(path.iterdir()):
                _try(found, file, sense, requests)
            if _count(found) == before:
                raise Problem(f"{place} holds no instance of a known format", Exit.USAGE)
        else:
            _read(found, path, sense, requests)
    return found


def _count(found: Found) -> int:
    return len(found.instances) + len(found.traces) + len(found.workflows)


def _try(found: Found, file: Path, sense: str | None, requests: int | None) -> None:
    """What is no instance is passed over: a folder holds licences and solutions, too."""
    if file.is_file() and file.suffix not in (".sol", ".md"):
        try:
            _read(found, file, sense, requests)
        except Problem:
            return


def _read(found: Found, path: Path, sense: str | None, requests: int | None) -> None:
    if online.is_trace(path):
        found.traces.append(online.read(path, requests))
    elif workflows.is_workflow(path):
        found.workflows.append(workflows.read(path))
    else:
        found.instances.extend(instances.read(path, sense))


# --- which protocols


def chosen(found: Found, question: Question) -> dict[str, list[str]]:
    """The protocols for each kind of what was found. Raises Problem where one is known to none, or fits nothing."""
    kinds = [kind for kind in KNOWN if getattr(found, kind)]
    if question.protocols == (ALL,):
        return {kind: list(KNOWN[kind]) for kind in kinds}
    everywhere = tuple(dict.fromkeys(name for kind in KNOWN for name in KNOWN[kind]))
    for name in question.protocols:
        if name not in everywhere:
            guess = did_you_mean(name, everywhere)
            raise Problem(f"{name!r} is no protocol{guess}; there are {', '.join(everywhere)} and {ALL}", Exit.USAGE)
    result: dict[str, list[str]] = {}
    for kind in kinds:
        named = [name for name in question.protocols if name in KNOWN[kind]]
        if question.protocols and not named:
            asked = ", ".join(question.protocols)
            raise Problem(f"{kind} know no {asked}: choose {', '.join(KNOWN[kind])}", Exit.USAGE)
        result[kind] = named or [USUAL[kind]]
    return result


def check(protocols: Sequence[str], question: Question) -> None:
    """Flags that mean nothing for what is asked of instances. Raises Problem."""
    plain = [name for name in protocols if name not in consensus.PROTOCOLS]
    if question.setting.topology is not None and question.protocols != (ALL,) and plain:
        raise Problem(
            f"{plain[0]} lets all hear all: --topology is for {' and '.join(consensus.PROTOCOLS)}", Exit.USAGE
        )
    if question.on == "processes":
        unfit = [name for name in protocols if name in consensus.PROTOCOLS]
        if unfit and question.protocols != (ALL,):
            raise Problem(f"{unfit[0]} runs on the simulated fleet: leave --on processes out", Exit.USAGE)


# --- all runs


def run(found: Found, question: Question, told: Callable[[Line], None]) -> list[Line]:
    """One after the other; `told` hears each as it ends. Raises Problem."""
    asked = chosen(found, question)
    lines: list[Line] = []

    def note(line: Line) -> None:
        lines.append(line)
        told(line)

    check(asked.get("instances", []), question)
    for instance in found.instances:
        for protocol in asked["instances"]:
            if _fits(protocol, instance, question):
                for mode in question.modes:
                    for seed in question.seeds:
                        note(_run(instance, protocol, mode, seed, question))
    for trace in found.traces:
        policies = asked["traces"]
        online.runs(trace, policies, question.probes, question.load, question.speeds, question.seeds, note)
    for workflow in found.workflows:
        for line in workflows.runs(workflow, asked["workflows"], question.speeds, question.seeds):
            note(line)
    return lines


def _fits(protocol: str, instance: Instance, question: Question) -> bool:
    """Of all protocols, those that fit; one that was named says itself why it does not."""
    if question.protocols != (ALL,):
        return True
    if protocol in consensus.PROTOCOLS:
        return question.on == "simulated" and consensus.why_not(protocol, instance) is None
    return True


def _run(instance: Instance, protocol: str, mode: str, seed: int, question: Question) -> allocations.Line:
    if question.on == "processes":
        setting = question.setting
        played = processes.play(instance, protocol, mode, seed, loss=setting.loss, trade=setting.trade)
        return allocations.line(instance, protocol, mode, seed, played, on="processes", loss=setting.loss)
    return allocations.run(instance, protocol, mode, seed, question.setting)
