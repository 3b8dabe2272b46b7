"""Which keys go where: the folder that was named, the one that a local agent has named, or the user's own.

    agent of this machine    what it says itself, in the file that announces it: its folder, or that it has no keys
    --keys DIR               also PARLEY_KEYS, and `keys` in a file with settings
    ~/.config/parley/keys    for addresses beyond this machine, if there are keys
    none                     on the loopback, where whoever can connect is on this machine already

Invariant: an agent listens beyond its own machine with keys, or because somebody has said --insecure.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .problems import Exit, Problem

if TYPE_CHECKING:
    from ..transport.security import Ring
    from .discovery import Entry

VARIABLE = "PARLEY_KEYS"
LOOPBACK = ("ipc://", "tcp://127.", "tcp://[::1]")

_told: list[Path] = []
"""What --keys has said, for all connections of this process; one at most."""


def default_folder() -> Path:
    """`$XDG_CONFIG_HOME/parley/keys`, or the same below ~/.config."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given if os.path.isabs(given) else os.path.expanduser("~/.config")) / "parley" / "keys"


def use(folder: Path | None) -> None:
    """What --keys says holds for every connection of this process."""
    _told[:] = [folder] if folder is not None else []


def named() -> Path | None:
    """The folder that somebody has named; None: nobody has."""
    if _told:
        return _told[0]
    return Path(os.environ[VARIABLE]).expanduser() if os.environ.get(VARIABLE) else None


def beyond(address: str) -> bool:
    """It can be reached from other machines. The address must be an exact one."""
    return not address.startswith(LOOPBACK)


def for_agent(bind: str, *, insecure: bool) -> Ring | None:
    """Of an agent that binds this exact address; None: it has none, and may do without. Raises Problem."""
    folder = named()
    if insecure:
        if folder is not None:
            raise Problem(f"--insecure says without keys, and --keys names {folder}: leave one out", Exit.USAGE)
        return None
    if folder is None and beyond(bind):
        folder = default_folder()
        if not folder.exists():
            raise Problem(
                f"{bind} can be reached from other machines, and anybody there could hand work in: make a key with "
                "`parley keys new` and let the others in with `parley keys allow`, or say --insecure",
                Exit.USAGE,
            )
    return read(folder) if folder is not None else None


def for_client(address: str) -> Ring | None:
    """Of one who talks to the agent at this address; None: without. Raises Problem."""
    folder = named()
    entry = next((one for one in _living() if one.address == address), None)
    if entry is not None:
        if not entry.keys:
            return None
        folder = folder or Path(entry.keys)
    elif folder is None and beyond(address) and default_folder().exists():
        folder = default_folder()
    return read(folder) if folder is not None else None


def read(folder: Path) -> Ring:
    """Raises Problem."""
    from ..transport.security import KeysError, Ring

    try:
        return Ring.read(folder)
    except KeysError as error:
        raise Problem(str(error), Exit.USAGE) from None


def _living() -> list[Entry]:
    from . import discovery

    return discovery.living()
