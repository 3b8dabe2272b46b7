"""Commitment as a whole: hundreds of seeds of trouble, and planted mistakes that are caught."""

from __future__ import annotations

import pytest
from commitment_mistakes import PATCHES, SWITCHES, Plant
from commitment_world import Violation, World

SEEDS = 60
SEEDS_UNTIL_CAUGHT = 600


@pytest.mark.parametrize(
    ("options", "first"),
    [({}, 0), ({"dies": True}, 1_000), ({"once": True}, 2_000), ({"holders": 1}, 3_000), ({"holders": 5}, 4_000)],
    ids=["three holders", "one dies for good", "at most once", "one holder", "five holders"],
)
def test_nothing_acknowledged_is_lost_and_nothing_ends_twice(options: dict[str, int], first: int) -> None:
    ended = again = 0
    for seed in range(first, first + SEEDS):
        world = World(seed, **options)  # type: ignore[arg-type]
        try:
            world.run()
        except Violation as violation:
            raise AssertionError(f"seed {seed}, {options}: {violation}") from None
        ended += len(world.watcher.chosen)
        again += sum(world.watcher.starts.values()) > len(world.watcher.chosen)
    assert ended > 2.9 * SEEDS  # three tasks each
    assert again > SEEDS / 10 or options.get("once")  # there was trouble enough


def test_the_same_seed_is_the_same_run() -> None:
    def fingerprint() -> object:
        world = World(17, dies=True)
        world.run()
        return world.now, world.watcher.chosen, world.watcher.told, world.watcher.starts

    assert fingerprint() == fingerprint()


@pytest.mark.parametrize(("plant", "options", "first"), PATCHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_mistake_is_caught(
    plant: Plant, options: dict[str, bool], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert caught(options, first)


@pytest.mark.parametrize(("switch", "first"), SWITCHES)
def test_a_mistake_of_those_around_is_caught(switch: str, first: int) -> None:
    assert caught({switch: True}, first)


def caught(options: dict[str, bool], first: int) -> bool:
    for seed in range(first, first + SEEDS_UNTIL_CAUGHT):
        try:
            World(seed, **options).run()
        except Violation:
            return True
    return False
