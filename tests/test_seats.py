"""Who a member of a gang is, by its environment."""

from __future__ import annotations

import pytest

from parley.agents.seats import NAMES, environment, host_of
from parley.protocols.core import Seat

ADDRESSES = {"n1": "tcp://10.0.0.3:4711", "n4": "tcp://[fe80::1]:4711", "n9": "ipc:///run/n9", "gone": ""}


@pytest.mark.parametrize(
    ("address", "host"),
    [("tcp://10.0.0.3:4711", "10.0.0.3"), ("tcp://[fe80::1]:1", "fe80::1"), ("ipc:///run/n9", "localhost")],
)
def test_a_host_is_where_others_dial(address: str, host: str) -> None:
    assert host_of(address) == host


def test_a_member_is_told_its_rank_its_place_on_its_node_and_all_peers() -> None:
    seat = Seat("4gk0", 3, ("n1", "n1", "n4", "n4", "n9"))
    told = environment(seat, ADDRESSES.__getitem__)
    assert told == {
        "PARLEY_GANG": "4gk0",
        "PARLEY_RANK": "3",
        "PARLEY_SIZE": "5",
        "PARLEY_LOCAL_RANK": "1",
        "PARLEY_PEERS": "10.0.0.3,10.0.0.3,fe80::1,fe80::1,localhost",
        "PARLEY_NODES": "n1,n1,n4,n4,n9",
    }
    assert tuple(told) == NAMES


def test_who_is_no_member_is_told_nothing() -> None:
    assert not environment(None, ADDRESSES.__getitem__)
