"""Parley: agents that share out work by bargaining.

The face of the package: these names are loaded on first use, so that importing `parley` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agents.agent import Agent as Agent
    from .agents.runtime import Node as Node
    from .launch.client import Client as Client
    from .launch.fleet import Fleet as Fleet
    from .protocols.core import Outcome as Outcome
    from .protocols.core import State as State
    from .protocols.core import Task as Task

    __version__: str

_HOMES = {
    "Agent": "agents.agent",
    "Client": "launch.client",
    "Fleet": "launch.fleet",
    "Node": "agents.runtime",
    "Outcome": "protocols.core",
    "State": "protocols.core",
    "Task": "protocols.core",
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
