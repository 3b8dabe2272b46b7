"""What a member of a gang finds in its environment: who it is, among how many, and where the others are.

    Seat("4gk0", 3, ("n1", "n1", "n4", "n4"))  ->  PARLEY_GANG=4gk0  PARLEY_RANK=3  PARLEY_SIZE=4  PARLEY_LOCAL_RANK=1
                                                   PARLEY_PEERS=10.0.0.3,10.0.0.3,10.0.0.7,10.0.0.7
                                                   PARLEY_NODES=n1,n1,n4,n4

The names are ours; what they mean is what torchrun's RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR mean (the first of
the peers is where rank 0 is). Ports are the members' own affair: rank 0 listens, on one that all have been told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a worker should start at once
    from ..protocols.core import NodeId, Seat

NO_SEAT: Mapping[str, str] = MappingProxyType({})
NAMES = ("PARLEY_GANG", "PARLEY_RANK", "PARLEY_SIZE", "PARLEY_LOCAL_RANK", "PARLEY_PEERS", "PARLEY_NODES")
LOCALHOST = "localhost"


def host_of(address: str) -> str:
    """Of an agent's address, as others dial it; of a local path, this machine.

    >>> host_of("tcp://10.0.0.3:4711"), host_of("tcp://[fe80::1]:4711"), host_of("ipc:///run/n1")
    ('10.0.0.3', 'fe80::1', 'localhost')
    """
    scheme, _, rest = address.partition("://")
    return rest.rpartition(":")[0].strip("[]") if scheme == "tcp" else LOCALHOST


def environment(seat: Seat | None, address_of: Callable[[NodeId], str]) -> Mapping[str, str]:
    """Of whoever sits there; nothing, for what is no member of a gang."""
    if seat is None:
        return NO_SEAT
    here = seat.nodes[seat.rank]
    told = (
        seat.gang,
        str(seat.rank),
        str(len(seat.nodes)),
        str(seat.nodes[: seat.rank].count(here)),
        ",".join([host_of(address_of(node)) for node in seat.nodes]),
        ",".join(seat.nodes),
    )
    return dict(zip(NAMES, told, strict=True))
