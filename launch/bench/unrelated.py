"""An executor whose tasks take on each node what they say: `about` has the seconds by the name of the node.

    parley up --name n2 --executor parley.launch.bench.unrelated:n2

So a run-time matrix is carried out by real agents: every node prices by its own entry, and sleeps for so long.
"""

from __future__ import annotations

import asyncio

from ...agents.executors.own import Job

KIND = "unrelated"


class Unrelated:
    """Runs tasks of this kind on the node `name`."""

    kinds = (KIND,)
    name = ""

    def price(self, job: Job) -> dict[str, float]:
        return {"run": float(job.about[self.name])}

    async def run(self, job: Job) -> None:
        await asyncio.sleep(float(job.about[self.name]))


def __getattr__(name: str) -> type[Unrelated]:
    """The executor of the node of this name."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Unrelated,), {"name": name})
