"""How the suite is shared out among processes: test by test, but what a module starts once stays in one process.

And what these processes inherit: a shell has what it starts in the background ignore Ctrl-C, and all that is started
there would ignore it too; some tests send it.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
TOGETHER = 'scope="module"'

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadScopeScheduling

    together = {path.name for path in TESTS.glob("test_*.py") if TOGETHER in path.read_text()}

    class Sharing(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if Path(file).name in together else nodeid

    return Sharing(config, log)
