"""Speakers on a graph whose links lose words, and nobody repeats them: the hardest wire a consensus is tried on.

In `rounds` a word comes in its round or never. `at_once` knows no rounds: each agent speaks about once a second, words
take up to `delay` seconds each, so they overtake each other, some come twice. Whoever is done speaks only when it has
heard somebody who is not. (On the fleet's own links nothing is lost for good; there neighbours.py drives the speakers.)
"""

from __future__ import annotations

import heapq
import random
import typing
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...protocols.core import Message, NodeId
from ...protocols.neighbours import Speaker, Words
from .graphs import Graph


class Talk(NamedTuple):
    """`rounds` until all were done (at once: seconds); `sent` words to one neighbour each; `done`: all have seen the
    end themselves."""

    rounds: int
    sent: int
    done: bool


def rounds(
    speakers: Mapping[NodeId, Speaker],
    graph: Graph,
    loss: float,
    rng: random.Random,
    rounds_max: int,
    after_each: Callable[[int], None] = lambda turn: None,
) -> Talk:
    """All speak, then all hear, again and again, until all are done. Where nothing is lost only what is new is told."""
    names = list(speakers)
    asked = set(names)  # who has heard somebody who is not done
    sent = 0
    for turn in range(1, rounds_max + 1):
        words = {
            name: speaker.speak(turn, whole=loss > 0.0)
            for name, speaker in speakers.items()
            if (speaker.news or (loss > 0.0 and (not speaker.done or name in asked)))
        }
        asked.clear()
        for place, name in enumerate(names):
            if (said := words.get(name)) is None:
                continue
            sent += len(graph[place])
            for other in graph[place]:
                if loss and rng.random() < loss:
                    continue
                speakers[names[other]].hear(said, name)
                if not typing.cast("Words", said).last:
                    asked.add(names[other])
        after_each(turn)
        if all(speaker.done for speaker in speakers.values()):
            return Talk(turn, sent, True)
    return Talk(rounds_max, sent, False)


def at_once(
    speakers: Mapping[NodeId, Speaker],
    graph: Graph,
    loss: float,
    rng: random.Random,
    seconds_max: int,
    *,
    delay: float = 3.0,
    duplication: float = 0.1,
) -> Talk:
    """Without rounds, with disorder."""
    names = list(speakers)
    heap: list[tuple[float, int, int, Message | None, int]] = []  # when, number, who, what it hears, from whom
    number = sent = 0
    asked = set(range(len(names)))

    def push(at: float, who: int, words: Message | None, sender: int) -> None:
        nonlocal number
        number += 1
        heapq.heappush(heap, (at, number, who, words, sender))

    for place in range(len(names)):
        push(rng.random(), place, None, place)
    while heap:
        now, _, who, words, sender = heapq.heappop(heap)
        if now > seconds_max:
            break
        speaker = speakers[names[who]]
        if words is not None:
            speaker.hear(words, names[sender])
            if not typing.cast("Words", words).last:
                asked.add(who)
            if speaker.done and all(one.done for one in speakers.values()):
                return Talk(round(now), sent, True)
            continue
        push(now + rng.uniform(0.5, 1.5), who, None, who)
        if speaker.done and who not in asked and not speaker.news:
            continue
        asked.discard(who)
        said = speaker.speak(round(now), whole=True)
        for other in graph[who]:
            sent += 1
            for _ in range(2 if rng.random() < duplication else 1):
                if rng.random() >= loss:
                    push(now + rng.uniform(0.0, delay), other, said, who)
    return Talk(seconds_max, sent, all(speaker.done for speaker in speakers.values()))
