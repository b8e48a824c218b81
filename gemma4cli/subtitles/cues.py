"""Segments to subtitle cues: which text is on screen together, in which lines, and for how long.

Only the times of segments were measured. Within a segment, time is divided by length of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import inf

from ..errors import OptionError
from ..transcript import Segment
from .line_breaks import Break, Unit, units


@dataclass(frozen=True, kw_only=True, slots=True)
class CueStyle:
    """How much a cue holds and how long it stays on screen.

    ``max_line_width`` is in columns (wide characters take two), ``max_speed`` in columns per
    second, durations in seconds. Width and line count always hold. Speed and ``min_duration``
    hold if there is enough time before the next segment, ``max_duration`` if speed allows it.
    Raises OptionError for values out of range.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    max_speed: float = 20.0
    min_duration: float = 1.0
    max_duration: float = 7.0

    def __post_init__(self) -> None:
        if self.max_line_width < 2:
            raise OptionError(
                f"lines must be at least 2 columns wide (one wide character), "
                f"not {self.max_line_width}"
            )
        if self.max_line_count < 1:
            raise OptionError(f"a cue must have 1 line or more, not {self.max_line_count}")
        if not 0 < self.max_speed < inf:
            raise OptionError(
                f"the reading speed must be above 0, and finite, not {self.max_speed}"
            )
        if not 0 < self.min_duration <= self.max_duration < inf:
            raise OptionError(
                f"a cue's shortest duration ({self.min_duration}) must be above 0 and at most its "
                f"longest ({self.max_duration})"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """Lines shown together; times are in seconds from the recording's start, in whole ms."""

    start: float
    end: float
    lines: tuple[str, ...]


_BREAK_COSTS = {Break.SENTENCE: 0.0, Break.CLAUSE: 2.0, Break.WORD: 6.0, Break.INSIDE: 60.0}
"""Cost of ending a cue there, in units of one extra cue; a completely full cue costs 1 more than an
empty one."""
_OVERTIME_COST = 20.0
"""Cost of a cue that is on screen twice as long as ``max_duration``."""
_LINE_COST = 1e6
"""Cost of one more line: above everything else, so that a cue has no more lines than it needs."""
_LINE_BREAK_SHARE = 0.05
"""A line break interrupts reading less than a new cue does, so even lines weigh more."""


def make_cues(segments: Sequence[Segment], style: CueStyle) -> list[Cue]:
    """Cues for segments in order; segments without text have none.

    Cues end at the end of a sentence if possible, else of a clause, else between words; even
    lengths come last. Cues stay within their segment unless reading takes longer than speaking:
    they may then extend into the silence after it, up to the next segment, and if that is too
    short, they divide the time in proportion. Cues never overlap, and none is empty.

    Segments of several channels are laid out channel by channel: the cues of one do not overlap,
    those of different ones may. Each begins with its channel, within the width if that leaves
    half of it.
    """
    channels = sorted({segment.channel for segment in segments}, key=lambda channel: channel or 0)
    cues = [
        cue
        for channel in channels
        for cue in _cues_of_channel([each for each in segments if each.channel == channel], style)
    ]
    return cues if len(channels) == 1 else sorted(cues, key=lambda cue: (cue.start, cue.end))


def _cues_of_channel(segments: Sequence[Segment], style: CueStyle) -> list[Cue]:
    label = segments[0].label
    width = max(style.max_line_width - len(label), style.max_line_width // 2, 2)
    style = replace(style, max_line_width=width if label else style.max_line_width)
    with_text = [
        (segment, found)
        for segment in segments
        if (found := units(segment.text, style.max_line_width))
    ]
    cues: list[Cue] = []
    for i, (segment, found) in enumerate(with_text):
        until = with_text[i + 1][0].start if i + 1 < len(with_text) else inf
        cues += _cues_of(segment, found, until, style)
    return [replace(cue, lines=(label + cue.lines[0], *cue.lines[1:])) for cue in _in_order(cues)]


def _cues_of(
    segment: Segment, found: Sequence[Unit], until: float, style: CueStyle
) -> Iterator[Cue]:
    """The cues of one segment; the next segment starts at ``until``."""
    pace = max(0.0, segment.end - segment.start) / _width(found)
    runs = _cheapest(len(found), lambda first: _cue_runs(found, first, pace, style))
    parts = [found[first:end] for first, end in runs]
    times = _times([_width(part) for part in parts], segment, until, style)
    for part, (start, end) in zip(parts, times, strict=True):
        yield Cue(start=start, end=end, lines=_lines(part, style.max_line_width))


def _lines(part: Sequence[Unit], widest: int) -> tuple[str, ...]:
    """As few lines as possible, of even width."""
    runs = _cheapest(len(part), lambda first: _line_runs(part, first, widest))
    return tuple(_text(part[first:end]) for first, end in runs)


def _cue_runs(
    found: Sequence[Unit], first: int, pace: float, style: CueStyle
) -> Iterator[tuple[int, float]]:
    """End and cost of each run of units from ``first`` that fits into a cue.

    ``pace`` is in seconds per column. Filling each line takes the fewest lines.
    """
    capacity = style.max_line_width * style.max_line_count
    lines, line, width = 1, 0, 0
    for index in range(first, len(found)):
        unit = found[index]
        space = unit.spaced and index > first
        width += space + unit.columns
        line += space + unit.columns
        if line > style.max_line_width:
            lines, line = lines + 1, unit.columns
        if lines > style.max_line_count:
            return
        overtime = max(0.0, pace * width / style.max_duration - 1)
        cost = 1 + (width / capacity) ** 2 + _BREAK_COSTS[unit.end] + _OVERTIME_COST * overtime
        yield index + 1, cost


def _line_runs(part: Sequence[Unit], first: int, widest: int) -> Iterator[tuple[int, float]]:
    """End and cost of each run of units from ``first`` that fits into a line."""
    width = 0
    for index in range(first, len(part)):
        unit = part[index]
        width += (unit.spaced and index > first) + unit.columns
        if width > widest:
            return
        cost = _LINE_COST + (width / widest) ** 2 + _LINE_BREAK_SHARE * _BREAK_COSTS[unit.end]
        yield index + 1, cost


def _cheapest(
    count: int, runs: Callable[[int], Iterable[tuple[int, float]]]
) -> list[tuple[int, int]]:
    """``range(count)`` split into consecutive half-open runs with the lowest total cost.

    ``runs`` gives the end and the cost of every run that may start at an index, at least one.
    """
    costs = [0.0] + [inf] * count
    origins = [0] * (count + 1)
    for first in range(count):
        for end, cost in runs(first):
            if costs[first] + cost < costs[end]:
                costs[end], origins[end] = costs[first] + cost, first
    found: list[tuple[int, int]] = []
    end = count
    while end:
        found.append((origins[end], end))
        end = origins[end]
    return found[::-1]


def _times(
    lengths: Sequence[int], segment: Segment, until: float, style: CueStyle
) -> list[tuple[float, float]]:
    """Start and end of cues with ``lengths`` columns; they may still overlap other segments'."""
    needs = [max(length / style.max_speed, style.min_duration) for length in lengths]
    available = max(0.0, until - segment.start)
    span = min(max(segment.end - segment.start, sum(needs)), available)
    share = min(1.0, span / sum(needs))
    needs = [need * share for need in needs]
    total = sum(lengths)
    borders = [span * length / total for length in accumulate(lengths, initial=0)]
    # One pass forward and one back: every cue gets what it needs, since the needs fit the span.
    for i, need in enumerate(needs[:-1]):
        borders[i + 1] = max(borders[i + 1], borders[i] + need)
    for i in range(len(needs) - 1, 0, -1):
        borders[i] = min(borders[i], borders[i + 1] - needs[i])
    return [
        (segment.start + a, segment.start + min(b, a + max(need, style.max_duration)))
        for (a, b), need in zip(pairwise(borders), needs, strict=True)
    ]


def _in_order(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues in whole milliseconds, from 0 on, without overlap, each 1 ms long or longer."""
    clock = 0
    for cue in cues:
        start = max(round(cue.start * 1000), clock)
        clock = max(round(cue.end * 1000), start + 1)
        yield Cue(start=start / 1000, end=clock / 1000, lines=cue.lines)


def _width(part: Sequence[Unit]) -> int:
    return sum(unit.columns + unit.spaced for unit in part) - part[0].spaced


def _text(part: Sequence[Unit]) -> str:
    return "".join(" " * unit.spaced + unit.text for unit in part)[part[0].spaced :]
