"""Parley: agents that share out work by bargaining.

The face of the package: these names are loaded on first use, so that importing `parley` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agents.agent import Agent as Agent
    from .agents.bidder import AskedTask as AskedTask
    from .agents.bidder import bidder as bidder
    from .agents.payload import Blob as Blob
    from .agents.payload import File as File
    from .agents.runtime import Node as Node
    from .launch.futures.asynchronous import AsyncClient as AsyncClient
    from .launch.futures.asynchronous import AsyncFleet as AsyncFleet
    from .launch.futures.asynchronous import AsyncFuture as AsyncFuture
    from .launch.futures.ends import RemoteError as RemoteError
    from .launch.futures.ends import TaskError as TaskError
    from .launch.futures.ends import Unplaced as Unplaced
    from .launch.futures.executor import Client as Client
    from .launch.futures.executor import Fleet as Fleet
    from .launch.futures.executor import Future as Future
    from .launch.problems import AgentUnreachable as AgentUnreachable
    from .launch.problems import Problem as Problem
    from .launch.spool import read_blob as read_blob
    from .launch.spool import save_blob as save_blob
    from .launch.submission import TaskRefused as TaskRefused
    from .protocols.core import Outcome as Outcome
    from .protocols.core import State as State
    from .protocols.core import Task as Task

    __version__: str

_HOMES = {
    "Agent": "agents.agent",
    "AgentUnreachable": "launch.problems",
    "AskedTask": "agents.bidder",
    "AsyncClient": "launch.futures.asynchronous",
    "AsyncFleet": "launch.futures.asynchronous",
    "AsyncFuture": "launch.futures.asynchronous",
    "Blob": "agents.payload",
    "Client": "launch.futures.executor",
    "File": "agents.payload",
    "Fleet": "launch.futures.executor",
    "Future": "launch.futures.executor",
    "Node": "agents.runtime",
    "Outcome": "protocols.core",
    "Problem": "launch.problems",
    "RemoteError": "launch.futures.ends",
    "State": "protocols.core",
    "Task": "protocols.core",
    "TaskError": "launch.futures.ends",
    "TaskRefused": "launch.submission",
    "Unplaced": "launch.futures.ends",
    "bidder": "agents.bidder",
    "read_blob": "launch.spool",
    "save_blob": "launch.spool",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        return version("parley")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
