"""What came of the requests of each kind of client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .exchange import REFUSED_FOR_NOW, Outcome
from .kinds import Kind

_LEAST_ANSWERED = 0.9
"""Share of those who ask the model that must get an answer, however often they are refused."""


@dataclass
class Tally:
    """What came of the requests of a kind; one that is refused for now is made again.

    Attributes:
        outcomes: How they ended, those that were given up included: the clients' time was over.
        refusals: How often one was refused for now.
        faults: What was wrong.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    refusals: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def answered(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.status != REFUSED_FOR_NOW]


def table(tallies: Mapping[Kind, Tally]) -> list[str]:
    """A line for each kind of client; seconds are in the middle of all, and the most."""
    lines = [
        f"{'client':15} {'requests':>8} {'refusals':>8} {'first s':>8} {'whole s':>8} "
        f"{'at most':>8}  ends"
    ]
    for kind, tally in tallies.items():
        seen = Counter(str(each.status or "closed") for each in tally.answered)
        seen["given up"] = len(tally.outcomes) - len(tally.answered)
        seen["FAULT"] = len(tally.faults)
        firsts = sorted(each.first for each in tally.answered)
        wholes = sorted(each.seconds for each in tally.answered)
        ends = ", ".join(f"{count} x {each}" for each, count in seen.most_common() if count)
        lines.append(
            f"{kind.name:15} {len(tally.outcomes) + len(tally.faults):8} {tally.refusals:8} "
            f"{_middle(firsts):8.2f} {_middle(wholes):8.2f} {wholes[-1] if wholes else 0:8.2f}  "
            f"{ends}"
        )
    return lines


def unanswered(tallies: Mapping[Kind, Tally]) -> list[str]:
    """Whether too many of those who ask the model got no answer."""
    asked = [each for kind, tally in tallies.items() if kind.asks for each in tally.outcomes]
    answered = sum(each.status == 200 for each in asked)
    print(f"{answered} of {len(asked)} requests to the model were answered whole")
    if answered < _LEAST_ANSWERED * len(asked):
        return [f"only {answered} of {len(asked)} requests to the model were answered"]
    return []


def _middle(numbers: Sequence[float]) -> float:
    return numbers[len(numbers) // 2] if numbers else 0.0
