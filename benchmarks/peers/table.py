"""The results as a Markdown table, and as one JSON document."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from limits import Load
from machine import Machine
from work import Case, GivenUp, Result

Results = Mapping[tuple[str, str], Sequence[Result | GivenUp]]
"""By names of engine and case: the runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A median, or the reason why there is none; ``shortened`` as in Result."""

    number: float | None
    note: str = ""
    shortened: str = ""

    def __str__(self) -> str:
        if self.number is None:
            return self.note
        mark = "≈ " if self.shortened else ""
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
            lines.append(complete(line(case, label, "s", lambda result: result.tower)))
    for case in cases:
        label = f"memory at most: {case.label}"
        lines.append(line(case, label, "GB", lambda result: result.peak / 1e9))
    return lines


def complete(row: Row) -> Row:
    """A row of what is done in full even where the rest of the work is shortened."""
    values = {engine: replace(value, shortened="") for engine, value in row.values.items()}
    return replace(row, values=values)


def shortened(lines: Sequence[Row]) -> str:
    """What the numbers of shortened work were measured on."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in lines:
        for engine, value in each.values.items():
            if value.shortened and each.unit != "GB":
                found[f"{engine}: {value.shortened}"].append(each.label)
    return "; ".join(f"{note} ({', '.join(labels)})" for note, labels in found.items())


def median(runs: Sequence[Result | GivenUp], of: Callable[[Result], float | None]) -> Value:
    """The median of one figure over the runs that have it."""
    done = [run for run in runs if isinstance(run, Result)]
    numbers = [number for number in map(of, done) if number is not None]
    if numbers:
        note = next((run.shortened for run in done if run.shortened), "")
        return Value(number=statistics.median(numbers), shortened=note)
    given_up = next((run.reason for run in runs if isinstance(run, GivenUp)), "-")
    return Value(number=None, note=given_up)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["-"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def compared(lines: Sequence[Row], engines: Sequence[str]) -> str:
    """The table of results. After each other engine: how many times as good g4 is."""
    own = "g4" in engines
    head, cells = ["", ""], [[each.label, each.unit] for each in lines]
    for engine in engines:
        with_ratio = own and engine != "g4"
        head += [engine, "ratio"] if with_ratio else [engine]
        for each, line in zip(lines, cells, strict=True):
            line.append(str(each.values[engine]))
            line += [each.ratio(engine)] if with_ratio else []
    return markdown(head, cells)


def reached(lines: Sequence[Row], machine: Machine, load: Load) -> dict[str, dict[str, float]]:
    """By label and engine, what part of the machine's limit is reached; 1 is all."""
    token = machine.product * 1e9 / load.token
    step = machine.read * 1e9 / load.step
    image = load.image / (machine.product * 1e9)
    found: dict[str, dict[str, float]] = {}
    for each in lines:
        numbers = {engine: value.number for engine, value in each.values.items() if value.number}
        if each.unit == "tokens/s":
            limit = step if each.label.startswith("decode") else token
            found[each.label] = {engine: rate / limit for engine, rate in numbers.items()}
        elif each.label.startswith("picture: its tower") and image:
            found[each.label] = {engine: image / took for engine, took in numbers.items()}
    return found


def percentages(parts: Mapping[str, Mapping[str, float]], engines: Sequence[str]) -> str:
    """``reached`` as a table."""

    def cell(part: Mapping[str, float], engine: str) -> str:
        return f"{100 * part[engine]:.0f} %" if engine in part else "-"

    lines = [[label, *(cell(part, name) for name in engines)] for label, part in parts.items()]
    return markdown(["of the limit", *engines], lines)


def records(lines: Sequence[Row]) -> list[dict[str, object]]:
    """The rows for JSON: a number per engine, or why there is none."""
    return [
        {"label": each.label, "unit": each.unit}
        | {name: value.number or value.note for name, value in each.values.items()}
        for each in lines
    ]
