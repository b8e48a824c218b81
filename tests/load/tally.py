"""What came of the requests of each kind of client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .exchange import Outcome
from .kinds import Kind


@dataclass
class Tally:
    """What came of the requests of a kind.

    Attributes:
        outcomes: How they ended; one that is refused for now has not ended, but is made again.
        refusals: How often one was refused for now.
        faults: What was wrong.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    refusals: int = 0
    faults: list[str] = field(default_factory=list)


def table(tallies: Mapping[Kind, Tally]) -> list[str]:
    """A line for each kind of client, and one for all that ask the model.

    Seconds are those in the middle of all, and the most, without the waits of those that were
    refused.
    """
    lines = [
        f"{'client':15} {'requests':>8} {'refusals':>8} {'first s':>8} {'whole s':>8} "
        f"{'at most':>8}  ends"
    ]
    lines += [_line(kind.name, [tally]) for kind, tally in tallies.items()]
    lines.append(_line("ask the model", [tally for kind, tally in tallies.items() if kind.asks]))
    return lines


def _line(name: str, tallies: Sequence[Tally]) -> str:
    outcomes = [each for tally in tallies for each in tally.outcomes]
    seen = Counter(str(each.status or "closed") for each in outcomes)
    seen["FAULT"] = sum(len(tally.faults) for tally in tallies)
    firsts = sorted(each.first for each in outcomes)
    wholes = sorted(each.seconds for each in outcomes)
    ends = ", ".join(f"{count} x {each}" for each, count in seen.most_common() if count)
    return (
        f"{name:15} {seen.total():8} {sum(tally.refusals for tally in tallies):8} "
        f"{_middle(firsts):8.2f} {_middle(wholes):8.2f} {wholes[-1] if wholes else 0:8.2f}  {ends}"
    )


def _middle(numbers: Sequence[float]) -> float:
    return numbers[len(numbers) // 2] if numbers else 0.0
