"""Where logs lie: those of local fleets below `./runs`, those of this machine's own agents in the user's state folder.

runs/20261123T203813Z-8e36/n1.jsonl, n2.jsonl, ...     runs/last -> the newest
~/.local/state/parley/NAME/NAME.jsonl                  a folder for each agent
"""

from __future__ import annotations

import os
from pathlib import Path

LAST_RUN = Path("runs/last")


def state_folder() -> Path:
    """`$XDG_STATE_HOME/parley`, or the same below ~/.local/state."""
    given = os.environ.get("XDG_STATE_HOME", "")
    return Path(given if os.path.isabs(given) else os.path.expanduser("~/.local/state")) / "parley"


def newest_logs() -> Path:
    """What is asked about where no folder is named: the last run, else what this machine's own agents have logged."""
    return state_folder() if not LAST_RUN.exists() and state_folder().is_dir() else LAST_RUN
