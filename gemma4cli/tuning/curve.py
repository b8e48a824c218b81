"""The curve of a tuning: a line of JSON for each step, and a drawing of them as SVG."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ..checked_json import JsonError, parse
from ..own_files import shared_mode, whole_file
from .events import StepDone, Validated

LINES, DRAWING = "curve.jsonl", "curve.svg"
_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 48
_LEARNED, _HELD_OUT, _INK, _GRID = "#2a62d0", "#dc2828", "#333333", "#dddddd"
_MOST_POINTS = 1000
_SMOOTHED = 1 / 20
"""Share of a run's steps over which the drawn loss is averaged."""


@dataclass(kw_only=True, slots=True)
class Curve:
    """The curve of one folder: ``lines`` are its records, in the order of the steps."""

    folder: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path, step: int) -> Curve:
        """The curve until ``step``; later lines, and what is none, are dropped."""
        curve = cls(folder=folder)
        try:
            content = (folder / LINES).read_text("utf-8", "replace")
        except OSError:
            return curve
        for line in content.split("\n"):
            try:
                record = parse(line) if line else None
            except JsonError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                if record["step"] > step:
                    break
                curve.lines.append(record)
        return curve

    def add(self, event: StepDone | Validated) -> None:
        record: dict[str, Any] = {"step": event.step}
        if isinstance(event, StepDone):
            record |= {
                "loss": round(event.loss, 6),
                "rate": float(f"{event.rate:.4g}"),
                "tokens": event.tokens,
                "tokens_per_second": round(event.tokens_per_second, 1),
            }
            if event.drift is not None:
                record["drift"] = round(event.drift, 6)
        else:
            record["validation_loss"] = round(event.loss, 6)
        self.lines.append(record | {"seconds": round(event.seconds, 2)})

    def write(self) -> None:
        """Write both files whole. Raises OSError."""
        with whole_file(self.folder / LINES, mode=shared_mode()) as file:
            file.write("".join(json.dumps(each) + "\n" for each in self.lines).encode())
        with whole_file(self.folder / DRAWING, mode=shared_mode()) as file:
            file.write(drawing(self.lines).encode())


Point = tuple[float, float]


def drawing(lines: Sequence[dict[str, Any]]) -> str:
    """The losses by step as SVG; it stands on its own."""
    learned = _thinned(_smoothed(_points(lines, "loss")))
    held_out = _points(lines, "validation_loss")
    points = [*learned, *held_out]
    last = max([step for step, _ in points], default=1) or 1
    most = max([loss for _, loss in points], default=1) or 1
    tick = _tick(most)
    top = tick * (int(most / tick) + 1)

    def at(point: Point) -> str:
        step, loss = point
        x = _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - loss / top * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [*_axes(last, top, tick, at)]
    for name, color, found in (("learned", _LEARNED, learned), ("held out", _HELD_OUT, held_out)):
        if not found:
            continue
        parts.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="2" '
            f'points="{" ".join(map(at, found))}"><title>{escape(name)}</title></polyline>'
        )
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"><title>step {step:.0f}: {loss:.3f}'
            "</title></circle>"
            for step, loss in (held_out if name == "held out" else ())
            for x, y in [at((step, loss)).split(",")]
        ]
    parts += _legend(bool(held_out))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        "<title>Loss by step</title>\n"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _points(lines: Sequence[dict[str, Any]], key: str) -> list[Point]:
    return [
        (each["step"], each[key])
        for each in lines
        if isinstance(each.get(key), int | float) and each[key] == each[key]
    ]


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """Means over the last steps, the first ones over fewer."""
    over = max(1, round(len(points) * _SMOOTHED))
    return [
        (step, sum(loss for _, loss in part) / len(part))
        for index, (step, _) in enumerate(points)
        if (part := points[max(0, index + 1 - over) : index + 1])
    ]


def _thinned(points: Sequence[Point]) -> list[Point]:
    every = -(-len(points) // _MOST_POINTS) or 1
    return list(points[::every])


def _tick(most: float) -> float:
    """A round distance of lines, of which there are three to eight."""
    for exponent in range(-6, 9):
        for digit in (1, 2, 5):
            tick = digit * 10.0**exponent
            if most / tick <= 7:
                return tick
    return most


def _axes(last: float, top: float, tick: float, at: Any) -> Iterator[str]:
    for number in range(round(top / tick) + 1):
        loss = number * tick
        (x1, y), (x2, _) = (at((step, loss)).split(",") for step in (0, last))
        yield f'<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}" stroke="{_GRID}"/>'
        yield (
            f'<text x="{_LEFT - 8}" y="{y}" dy="4" text-anchor="end" fill="{_INK}">{loss:g}</text>'
        )
    tick = max(1.0, _tick(last))
    for number in range(int(last / tick) + 1):
        x, _ = at((number * tick, 0)).split(",")
        y = _HEIGHT - _BOTTOM + 18
        yield (f'<text x="{x}" y="{y}" text-anchor="middle" fill="{_INK}">{number * tick:g}</text>')
    yield (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle" '
        f'fill="{_INK}">step</text>'
    )


def _legend(held_out: bool) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="24" fill="{_LEARNED}">loss of what is learned</text>'
    if held_out:
        yield f'<text x="{_LEFT + 180}" y="24" fill="{_HELD_OUT}">of what is held out</text>'
