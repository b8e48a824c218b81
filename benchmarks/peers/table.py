"""The results as a Markdown table, and as one JSON document."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from limits import Load
from machine import Machine
from work import Case, GivenUp, Result

Results = Mapping[tuple[str, str], Sequence[Result | GivenUp]]
"""By names of engine and case: the runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A median, or the reason why there is none."""

    number: float | None
    note: str = ""
    partial: int | None = None

    def __str__(self) -> str:
        if self.number is None:
            return self.note
        mark = "≈ " if self.partial else ""
        return mark + three_digits(self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line: a value per engine; ``more`` if more is better."""

    label: str
    unit: str
    more: bool
    values: Mapping[str, Value]

    def ratio(self, engine: str) -> str:
        """How many times as good g4 is as another engine."""
        own, other = (self.values.get(name, Value(number=None)) for name in ("g4", engine))
        if not own.number or not other.number:
            return ""
        ratio = own.number / other.number if self.more else other.number / own.number
        return three_digits(ratio)


def three_digits(number: float) -> str:
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 0.1 else 3
    return f"{number:,.{digits}f}"


def rows(cases: Sequence[Case], engines: Sequence[str], results: Results) -> list[Row]:
    """The lines of the table: the cases, what of them was in a tower, and the memory."""

    def line(case: Case, label: str, unit: str, of: Callable[[Result], float | None]) -> Row:
        values = {engine: median(results[engine, case.name], of) for engine in engines}
        return Row(label=label, unit=unit, more=case.is_rate and unit != "GB", values=values)

    lines = []
    for case in cases:
        lines.append(line(case, case.label, case.unit, lambda result: result.value))
        if case.soft:
            label = f"{case.label}: its tower alone"
            lines.append(line(case, label, "s", lambda result: result.tower))
    for case in cases:
        label = f"memory at most: {case.label}"
        lines.append(line(case, label, "GB", lambda result: result.peak / 1e9))
    return lines


def median(runs: Sequence[Result | GivenUp], of: Callable[[Result], float | None]) -> Value:
    """The median of one figure over the runs that have it."""
    done = [run for run in runs if isinstance(run, Result)]
    numbers = [number for number in map(of, done) if number is not None]
    if numbers:
        partial = next((run.partial for run in done if run.partial), None)
        return Value(number=statistics.median(numbers), partial=partial)
    given_up = next((run.reason for run in runs if isinstance(run, GivenUp)), "-")
    return Value(number=None, note=given_up)


def markdown(lines: Sequence[Row], engines: Sequence[str]) -> str:
    """The table. Behind each other engine: how many times as good g4 is."""
    peers = [engine for engine in engines if engine != "g4"]
    own = ["g4"] if "g4" in engines else []
    head = ["", "", *own, *(cell for peer in peers for cell in (peer, "ratio"))]
    if not own:
        head = ["", "", *peers]
    table = [head, ["-"] * len(head)]
    for each in lines:
        cells = [str(each.values[name]) for name in own]
        for peer in peers:
            cells += [str(each.values[peer]), *([each.ratio(peer)] if own else [])]
        table.append([each.label, each.unit, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def reached(
    lines: Sequence[Row], engines: Sequence[str], machine: Machine, load: Load
) -> list[tuple[str, dict[str, float]]]:
    """What part of the machine's limits each engine reaches; 1 is all."""
    found: list[tuple[str, dict[str, float]]] = []
    for each in lines:
        if each.unit == "GB":
            continue
        numbers = {
            engine: value.number
            for engine, value in each.values.items()
            if engine in engines and value.number
        }
        if each.label.startswith("decode"):
            limit = machine.read * 1e9 / load.step
            parts = {engine: rate / limit for engine, rate in numbers.items()}
        elif each.label.startswith("prefill"):
            limit = machine.product * 1e9 / load.token
            parts = {engine: rate / limit for engine, rate in numbers.items()}
        elif each.label.startswith("picture: its tower") and load.image:
            limit = load.image / (machine.product * 1e9)
            parts = {engine: limit / seconds for engine, seconds in numbers.items()}
        else:
            continue
        found.append((each.label, parts))
    return found
