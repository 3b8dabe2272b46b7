"""Who talks with whom: connected graphs of agents, and how far they reach.

A graph is, per node, the places of its neighbours. `regular` is a random graph in which everybody has `degree`
neighbours (A. Steger, N. Wormald, Generating Random Regular Graphs Quickly, 1999: pairs are drawn until it works out).
"""

from __future__ import annotations

import random
import re
from collections import deque
from typing import TypeAlias

Graph: TypeAlias = list[list[int]]
TRIES_MAX = 1000


def full(nodes: int) -> Graph:
    """All with all."""
    return [[other for other in range(nodes) if other != node] for node in range(nodes)]


def ring(nodes: int) -> Graph:
    """Each with the one before and the one behind."""
    return [sorted({(node - 1) % nodes, (node + 1) % nodes} - {node}) for node in range(nodes)]


def regular(nodes: int, degree: int, seed: int) -> Graph:
    """A connected random graph in which everybody has `degree` neighbours. Raises ValueError where there is none."""
    if not 0 < degree < nodes or nodes * degree % 2:
        raise ValueError(f"there is no graph of {nodes} nodes with {degree} neighbours each")
    rng = random.Random(seed)
    for _ in range(TRIES_MAX):
        edges = _pair(nodes, degree, rng)
        graph = [sorted({b if a == node else a for a, b in edges if node in (a, b)}) for node in range(nodes)]
        if edges and -1 not in distances(graph, 0):
            return graph
    raise ValueError(f"no connected graph of {nodes} nodes with {degree} neighbours each was found")


def _pair(nodes: int, degree: int, rng: random.Random) -> set[tuple[int, int]]:
    """Pair the ends of edges at random; empty if it came to a dead end."""
    edges: set[tuple[int, int]] = set()
    ends = [node for node in range(nodes) for _ in range(degree)]
    while ends:
        rng.shuffle(ends)
        left: list[int] = []
        for a, b in zip(ends[::2], ends[1::2], strict=True):
            edge = (min(a, b), max(a, b))
            if a == b or edge in edges:
                left += edge
            else:
                edges.add(edge)
        if len(left) == len(ends):
            return set()
        ends = left
    return edges


def distances(graph: Graph, start: int) -> list[int]:
    """Steps to each node; -1: there is no way."""
    steps = [-1] * len(graph)
    steps[start] = 0
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in graph[node]:
            if steps[other] < 0:
                steps[other] = steps[node] + 1
                queue.append(other)
    return steps


def diameter(graph: Graph) -> int:
    """The longest of all shortest ways."""
    return max(max(distances(graph, node)) for node in range(len(graph)))


TOPOLOGIES = "full, ring or K-regular"


def graph(name: str, nodes: int, seed: int) -> Graph:
    """By its name, of so many nodes. Raises ValueError where there is none."""
    if name == "full":
        return full(nodes)
    if name == "ring":
        return ring(nodes)
    if (match := re.fullmatch(r"(\d{1,3})-regular", name)) is not None:
        return regular(nodes, int(match[1]), seed)
    raise ValueError(f"{name!r} is no topology: write {TOPOLOGIES}")
