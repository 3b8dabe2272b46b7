"""An invariant that does not hold, by its name on the reliability page."""

from __future__ import annotations


class Violation(Exception):
    """Its name, and one sentence."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.sentence = sentence
