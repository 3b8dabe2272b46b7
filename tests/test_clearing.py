"""Clearing: every task is awarded once, within limits where it can be, first what would lose most."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import small_table

from parley.protocols.clearing import cleared
from parley.protocols.columns import Column, table


def nobody(tasks: int) -> np.ndarray:
    return np.full(tasks, -1, np.intp)


def test_who_would_lose_most_goes_first() -> None:
    known = table({"a": Column(np.asarray([1.0, 1.0])), "b": Column(np.asarray([2.0, 9.0]))})
    assert cleared(known, known.costs, [1.0, 5.0], nobody(2), range(2)).tolist() == [1, 0]


def test_what_fits_nowhere_overloads_least() -> None:
    known = table({"a": Column(np.asarray([4.0, 3.0])), "b": Column(np.asarray([4.0, 8.0]))})
    owners = cleared(known, known.costs, [3.0, 2.0], nobody(2), range(2))
    assert owners.tolist() == [1, 0], "task 1 fits on a; then task 0 is less too much for b"


def test_the_others_stay() -> None:
    known = small_table(3, limited=False)
    before = np.zeros(6, np.intp)
    after = cleared(known, known.costs, [1e9] * 3, before, [2, 4])
    assert [after[task] for task in (0, 1, 3, 5)] == [0] * 4


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), limited=st.booleans())
def test_every_task_is_awarded_and_limits_hold_where_all_fit(seed: int, limited: bool) -> None:
    known = small_table(seed, limited=limited, nodes=4, tasks=20)
    limits = [float(known.sizes.max() * 20)] * 4
    owners = cleared(known, known.costs, limits, nobody(20), range(20))
    assert ((owners >= 0) & (owners < 4)).all()
    assert owners.tolist() == known.costs.argmin(axis=0).tolist(), "with room for all, each goes to its best bid"


def test_one_node_gets_all() -> None:
    known = small_table(0, limited=False, nodes=1)
    assert cleared(known, known.costs, [0.0], nobody(6), range(6)).tolist() == [0] * 6
