"""Where logs lie: those of local fleets below `./runs`, those of this machine's own agents in the user's state folder.

    runs/20261123T203813Z-8e36/n1.jsonl, n2.jsonl, ...     runs/last -> the newest
    ~/.local/state/parley/NAME/NAME.jsonl                  a folder for each agent
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

RUNS = Path("runs")
LAST_RUN = RUNS / "last"


def state_folder() -> Path:
    """`$XDG_STATE_HOME/parley`, or the same below ~/.local/state."""
    given = os.environ.get("XDG_STATE_HOME", "")
    return Path(given if os.path.isabs(given) else os.path.expanduser("~/.local/state")) / "parley"


def newest_logs() -> Path:
    """What is asked about where no folder is named: the last run or what this machine's own agents have logged,
    whichever was written to last."""
    state = state_folder()
    return state if _written_at(state.glob("*/*.jsonl")) > _written_at(LAST_RUN.glob("*.jsonl")) else LAST_RUN


def logs_of(named: Path | None) -> Path:
    """The logs that a person means: a path, a run below `./runs` by its name or the unique beginning of it (`last` is
    one), or without a name the newest."""
    if named is None:
        return newest_logs()
    if named.exists() or len(named.parts) != 1:
        return named
    if (RUNS / named).exists():
        return RUNS / named
    beginning = [run for run in RUNS.glob("*") if run.name.startswith(named.name)]
    return beginning[0] if len(beginning) == 1 else named


def _written_at(logs: Iterable[Path]) -> float:
    """When one of them last was; 0: there is none."""
    newest = 0.0
    for log in logs:
        try:
            newest = max(newest, log.stat().st_mtime)
        except OSError:
            continue
    return newest
