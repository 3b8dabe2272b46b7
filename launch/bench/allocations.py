"""What `parley bench` tells of a run: value, bound, certificate, reference; as JSON, or as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ...protocols.dual_bound import certificate
from .instances import Instance
from .sessions import Played, finite, play

if TYPE_CHECKING:
    from rich.table import Table


class Line(msgspec.Struct, frozen=True):
    """One run, in the terms of its instance: of profits, value, bound and reference are profits.

    `certificate_pct`: by its own bound the value is within so many per cent of the optimum. `ratio` is value over
    reference. `feasible`: every task is placed, within every capacity. `seconds` are this machine's, for all agents.
    """

    instance: str
    protocol: str
    mode: str
    on: str
    seed: int
    value: float | None
    bound: float | None
    certificate_pct: float | None
    reference: float | None
    ratio: float | None
    feasible: bool
    rounds: int
    messages: int
    bytes: int
    seconds: float
    deliveries: int


def runs(
    found: Sequence[Instance],
    protocols: Sequence[str],
    modes: Sequence[str],
    seeds: Sequence[int],
    *,
    loss: float,
    trade: bool,
) -> Iterator[Line]:
    """One after the other, in the order of instances, protocols, modes and seeds."""
    for instance in found:
        for protocol in protocols:
            for mode in modes:
                for seed in seeds:
                    yield line(
                        instance, protocol, mode, seed, play(instance, protocol, mode, seed, loss=loss, trade=trade)
                    )


def line(instance: Instance, protocol: str, mode: str, seed: int, played: Played) -> Line:
    division = played.division
    placed = sum(len(tasks) for tasks in division.tasks.values()) == instance.costs.shape[1]
    feasible = placed and division.overload == 0.0
    value = instance.sign * division.value
    share = certificate(division.value, division.bound) if feasible else None
    return Line(
        instance=instance.name,
        protocol=protocol,
        mode=mode,
        on="simulated",
        seed=seed,
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
    )


def as_table(lines: Sequence[Line]) -> Table:
    """A row per instance, protocol and mode: means over the seeds, and the mean of all below."""
    from rich.table import Table

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    drawn.add_column("instance")
    drawn.add_column("protocol")
    drawn.add_column("mode")
    for title in ("value", "certificate", "of reference", "feasible", "rounds", "messages", "MB", "s"):
        drawn.add_column(title, justify="right")
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for told in lines:
        groups.setdefault((told.instance, told.protocol, told.mode), []).append(told)
    for (instance, protocol, mode), group in groups.items():
        drawn.add_row(instance, protocol, mode, *_cells(group))
    for protocol, mode in dict.fromkeys((told.protocol, told.mode) for told in lines):
        group = [told for told in lines if (told.protocol, told.mode) == (protocol, mode)]
        if len({told.instance for told in group}) > 1:
            _, *rest = _cells(group)
            drawn.add_row("mean", protocol, mode, "", *rest, style="bold")
    return drawn


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return math.fsum(known) / len(known) if known else None


def _cells(group: Sequence[Line]) -> list[str]:
    value, share, ratio = (
        _mean([told.value for told in group]),
        _mean([told.certificate_pct for told in group]),
        _mean([told.ratio for told in group]),
    )
    return [
        "-" if value is None else f"{value:,.1f}",
        "-" if share is None else f"{share:.2f} %",
        "-" if ratio is None else f"{ratio:.4f}",
        f"{sum(told.feasible for told in group)}/{len(group)}",
        f"{_mean([told.rounds for told in group]):.0f}",
        f"{_mean([told.messages for told in group]):,.0f}",
        f"{(_mean([told.bytes for told in group]) or 0.0) / 1e6:.1f}",
        f"{_mean([told.seconds for told in group]):.1f}",
    ]
