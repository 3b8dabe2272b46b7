"""The states that things go through, as tables: from, to, and what moves it. The documentation draws them; a test runs
fleets under faults and sees that nothing moves otherwise.

    TASK        as the log tells it              protocols/contract_events.py, commitment_events.py
    STAGE       of a task at its initiator       protocols/contract.py, `Stage`
    PERMISSION  to award it, at its opener       protocols/opener.py, `Stage`
    MEMBER      as another node sees it          protocols/membership.py, `Presence`

"" is before it is there at all, END that it is no more.
"""

from __future__ import annotations

from typing import TypeAlias

Table: TypeAlias = tuple[tuple[str, str, str], ...]

END = "end"

TASK: Table = (
    ("", "open", "task.submit"),
    ("open", "awarded", "auction.award"),
    ("awarded", "running", "task.start"),
    ("awarded", "open", "task.lost"),
    ("running", "open", "task.lost"),
    ("running", "awarded", "auction.award, by the next agent"),
    ("running", "done", "task.commit"),
    ("awarded", "done", "task.commit"),
    ("open", "done", "task.commit"),
    ("running", "failed", "task.commit"),
    ("awarded", "failed", "task.commit"),
    ("open", "failed", "task.commit"),
    ("open", "unplaced", "task.commit"),
    ("open", "cancelled", "task.commit"),
    ("awarded", "cancelled", "task.commit"),
    ("running", "cancelled", "task.commit"),
    ("running", "unknown", "task.commit, at most once"),
)
STAGE: Table = (
    ("", "uncalled", "handed in"),
    ("uncalled", "called", "its call goes out"),
    ("called", "priced", "all have answered, or reply_by"),
    ("called", "awarded", "sold in the open"),
    ("called", "parked", "nobody bid"),
    ("called", "uncalled", "all that bid are gone"),
    ("priced", "awarded", "its place in the plan has room"),
    ("priced", "reserving", "a gang, in its turn"),
    ("reserving", "awarded", "all its slots are held"),
    ("reserving", "parked", "not all its slots could be had"),
    ("reserving", "uncalled", "it may not be awarded any more"),
    ("priced", "parked", "no bid is left"),
    ("priced", "uncalled", "all that bid are gone"),
    ("parked", "uncalled", "recall, or somebody new"),
    ("awarded", "uncalled", "lost with its lease or its node, or declined"),
    ("awarded", "ending", "failed for good"),
    ("awarded", "ended", "its holders have decided"),
    ("uncalled", "ending", "cancelled"),
    ("called", "ending", "nobody can run it, or cancelled"),
    ("priced", "ending", "cancelled"),
    ("reserving", "ending", "cancelled"),
    ("parked", "ending", "cancelled"),
    ("ending", "ended", "its holders have decided"),
    ("uncalled", "ended", "another agent stands by it"),
    ("called", "ended", "another agent stands by it"),
    ("priced", "ended", "another agent stands by it"),
    ("reserving", "ended", "another agent stands by it"),
    ("parked", "ended", "another agent stands by it"),
)
PERMISSION: Table = (
    ("", "holding", "handed in here, Hold goes to its holders"),
    ("holding", "owned", "a majority has it on disk"),
    ("holding", "preparing", "not in time, or moved"),
    ("", "preparing", "adopted, lost or moved, Prepare goes out"),
    ("preparing", "owned", "a majority has promised"),
    ("owned", "preparing", "its hop was lost, a later epoch is asked for"),
    ("owned", "proposed", "an end without a winner"),
    ("preparing", "proposed", "a value was accepted before"),
    ("proposed", "preparing", "outbid by a later epoch"),
    ("preparing", "installing", "it has moved"),
    ("owned", "installing", "it has moved"),
    ("installing", "owned", "new holders keep it"),
    ("installing", "preparing", "not in time"),
)
MEMBER: Table = (
    ("", "alive", "Join, or hearsay"),
    ("alive", "suspect", "a missed probe, a dropped connection, hearsay"),
    ("suspect", "alive", "it refutes"),
    ("suspect", "dead", "not refuted in time"),
    ("alive", "dead", "hearsay"),
    ("dead", "alive", "it refutes, or starts again"),
    ("dead", "suspect", "hearsay of its refutation, doubted again"),
    ("alive", "left", "it says so"),
    ("suspect", "left", "it says so"),
    ("dead", "left", "it says so"),
    ("left", "alive", "it starts again"),
)
DIAGRAMS: dict[str, Table] = {"task": TASK, "stage": STAGE, "permission": PERMISSION, "member": MEMBER}


def mermaid(table: Table) -> str:
    """The table as a state diagram; moves between the same two states share an arrow.

    >>> print(mermaid((("", "a", "x"), ("a", "end", "y"))), end="")
    stateDiagram-v2
        [*] --> a : x
        a --> [*] : y
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    for start, to, why in table:
        arrows.setdefault((start, to), []).append(why)
    names = {"": "[*]", END: "[*]"}
    lines = [
        f"    {names.get(start, start)} --> {names.get(to, to)} : {' / '.join(whys)}"
        for (start, to), whys in arrows.items()
    ]
    assert not any(sign in why for _, _, why in table for sign in ":;"), "these end a label"
    return "\n".join(["stateDiagram-v2", *lines, ""])
