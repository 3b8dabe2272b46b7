"""One run of a protocol on an instance, and what `parley bench` tells of it: value, bound, certificate, reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ...protocols.dual_bound import certificate
from . import consensus
from .consensus import Record, Wire
from .instances import Instance
from .sessions import Played, finite, play


class Line(msgspec.Struct, frozen=True):
    """One run, in the terms of its instance: of profits (`sense` max), value, bound and reference are profits.

    `certificate_pct`: by its own bound the value is within so many per cent of the optimum. `ratio` is value over
    reference. `feasible`: every task is placed, within every capacity, and by one node. `seconds` are this machine's,
    for all agents. `converged`, `detected` and `diameter` are of consensus on a `topology`: after which round nothing
    changed, whether all have seen the end themselves, and how far the graph reaches. `told`: of how many tasks a node
    has told its cost, on average (`assignment` without scaling).
    """

    instance: str
    protocol: str
    mode: str
    on: str
    seed: int
    loss: float
    topology: str
    sense: str
    value: float | None
    bound: float | None
    certificate_pct: float | None
    reference: float | None
    ratio: float | None
    feasible: bool
    rounds: int
    messages: int
    bytes: int | None
    seconds: float
    deliveries: int
    messages_per_task: float
    diameter: int | None = None
    converged: int | None = None
    detected: bool | None = None
    told: float | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs of a comparison have in common. `topology` None: what is usual for the protocol."""

    loss: float = 0.0
    trade: bool = True
    topology: str | None = None
    scaling: bool = True


def runs(
    found: Sequence[Instance], protocols: Sequence[str], modes: Sequence[str], seeds: Sequence[int], setting: Setting
) -> Iterator[Line]:
    """One after the other, in the order of instances, protocols, modes and seeds."""
    for instance in found:
        for protocol in protocols:
            for mode in modes:
                for seed in seeds:
                    yield run(instance, protocol, mode, seed, setting)


def run(instance: Instance, protocol: str, mode: str, seed: int, setting: Setting) -> Line:
    """On the simulated fleet. Raises Problem where they do not go together."""
    if protocol in consensus.PROTOCOLS:
        topology = setting.topology or consensus.usual_topology(protocol, len(instance.costs))
        wire = Wire(topology, setting.loss, mode == "gossip")
        record = consensus.play(instance, protocol, seed, wire, scaling=setting.scaling)
        return consensus_line(instance, protocol, mode, seed, wire, record)
    played = play(instance, protocol, mode, seed, loss=setting.loss, trade=setting.trade)
    return line(instance, protocol, mode, seed, played, loss=setting.loss)


def line(
    instance: Instance, protocol: str, mode: str, seed: int, played: Played, *, on: str = "simulated", loss: float = 0.0
) -> Line:
    division = played.division
    tasks = instance.costs.shape[1]
    feasible = sum(len(held) for held in division.tasks.values()) == tasks and division.overload == 0.0
    value = instance.sign * division.value
    share = certificate(division.value, division.bound) if feasible else None
    return Line(
        instance=instance.name,
        protocol=protocol,
        mode=mode,
        on=on,
        seed=seed,
        loss=loss,
        topology="full",
        sense="max" if instance.sign < 0 else "min",
        value=finite(value),
        bound=finite(instance.sign * division.bound),
        certificate_pct=None if share is None else 100.0 * share,
        reference=instance.reference,
        ratio=finite(value / instance.reference) if instance.reference else None,
        feasible=feasible,
        rounds=played.rounds,
        messages=played.messages,
        bytes=played.bytes,
        seconds=played.seconds,
        deliveries=played.deliveries,
        messages_per_task=played.messages / tasks,
    )


def consensus_line(instance: Instance, protocol: str, mode: str, seed: int, wire: Wire, record: Record) -> Line:
    tasks = instance.costs.shape[1]
    share = None if record.bound is None else certificate(record.value, record.bound)
    return Line(
        instance=instance.name,
        protocol=protocol,
        mode=mode,
        on="simulated",
        seed=seed,
        loss=wire.loss,
        topology=wire.topology,
        sense="min",
        value=finite(record.value),
        bound=record.bound,
        certificate_pct=None if share is None else 100.0 * share,
        reference=instance.reference,
        ratio=finite(record.value / instance.reference) if instance.reference else None,
        feasible=record.conflict_free and record.placed == tasks,
        rounds=record.rounds,
        messages=record.messages,
        bytes=None,
        seconds=record.seconds,
        deliveries=record.messages,
        messages_per_task=record.messages / tasks,
        diameter=record.diameter,
        converged=record.converged,
        detected=record.detected,
        told=record.told,
    )
