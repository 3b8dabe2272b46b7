"""Graphs by their names: degrees, connection, diameters."""

from __future__ import annotations

import pytest

from parley.launch.bench.graphs import diameter, distances, full, graph, regular, ring


def test_diameters() -> None:
    assert diameter(full(7)) == 1
    assert diameter(ring(7)) == 3
    assert diameter(ring(100)) == 50
    assert diameter(full(1)) == 0
    assert ring(2) == [[1], [0]]
    assert distances([[], []], 0) == [0, -1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("nodes", [5, 16, 100])
def test_regular(nodes: int, seed: int) -> None:
    drawn = regular(nodes, 4, seed)
    assert all(len(others) == 4 and node not in others for node, others in enumerate(drawn))
    assert all(node in drawn[other] for node, others in enumerate(drawn) for other in others)
    assert -1 not in distances(drawn, 0)
    assert drawn == regular(nodes, 4, seed) == graph("4-regular", nodes, seed)


def test_there_is_none() -> None:
    for nodes, degree in ((4, 4), (5, 3), (3, 0)):
        with pytest.raises(ValueError, match="there is no graph"):
            regular(nodes, degree, 0)
    with pytest.raises(ValueError, match="'star' is no topology"):
        graph("star", 4, 0)
