"""`parley doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import click

from .. import options
from ..problems import Problem
from ..running import run


@click.command()
@options.agents
@options.as_json
def doctor(agents: tuple[str, ...], as_json: bool) -> None:
    """What is wrong here, and what to do: this machine, its settings, its agents, their fleet.

    Ends with 0 when nothing is wrong, else with 1.
    """
    import msgspec

    from ..doctor import examine
    from ..findings import State

    findings = run(examine(agents))
    if as_json:
        click.echo(msgspec.json.encode(findings))
    else:
        for finding in findings:
            click.echo(f"{finding.state:<5}  {finding.check:<9}  {finding.found}")
            if finding.do:
                click.echo(f"{'':18}-> {finding.do}")
    wrong = sum(finding.state is State.WRONG for finding in findings)
    if wrong:
        raise Problem("one thing is wrong here" if wrong == 1 else f"{wrong} things are wrong here")
