"""Segments to subtitle cues: what stands on the screen at once, in which lines, and how long.

Only the times of segments were measured. Inside a segment, time is shared out by length of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf

from ..errors import OptionError
from ..transcript import Segment
from .line_breaks import Break, Unit, units


@dataclass(frozen=True, kw_only=True, slots=True)
class CueStyle:
    """How much a cue holds and how long it stands.

    ``max_line_width`` is in columns, of which wide characters take two, and ``max_speed`` in
    columns a second. Durations are in seconds. Width and count always hold. Speed and
    ``min_duration`` hold where there is room up to the next segment's start, ``max_duration``
    where speed allows.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    max_speed: float = 20.0
    min_duration: float = 1.0
    max_duration: float = 7.0

    def __post_init__(self) -> None:
        if self.max_line_width < 2:
            raise OptionError(
                f"lines must be 2 columns wide or wider, a wide character's width, "
                f"not {self.max_line_width}"
            )
        if self.max_line_count < 1:
            raise OptionError(f"lines of a cue must be 1 or more, not {self.max_line_count}")
        if not 0 < self.max_speed < inf:
            raise OptionError(
                f"the reading speed must be above 0, and finite, not {self.max_speed}"
            )
        if not 0 < self.min_duration <= self.max_duration < inf:
            raise OptionError(
                f"a cue's least time ({self.min_duration}) must be above 0 and at most its "
                f"longest ({self.max_duration})"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """Lines that stand together; times are seconds from the recording's start, in whole ms."""

    start: float
    end: float
    lines: tuple[str, ...]


_PRICES = {Break.SENTENCE: 0.0, Break.CLAUSE: 2.0, Break.WORD: 6.0, Break.INSIDE: 60.0}
"""What ending a cue there costs, where one more cue costs 1, and a full one 1 more than none."""
_OVERTIME_PRICE = 20.0
"""What a cue costs that stands twice as long as it may."""
_LINE_PRICE = 1e6
"""Above all else, so that a cue has no more lines than it needs."""
_LINE_BREAK_SHARE = 0.05
"""A cue's end is a break in the reading; a line's end is less of one, and balance weighs more."""


def shape(segments: Sequence[Segment], style: CueStyle) -> list[Cue]:
    """Cues for segments that are in order; those without text have none.

    A cue is cut at the end of a sentence rather than of a clause, and there rather than between
    words; even lengths come last. Cues lie in their segment, unless the text takes longer to read
    than to say: they may then use the silence behind it, up to the next segment's start. Where
    that is too short, they share it by what they need. Cues never overlap, and none is empty.
    """
    spoken = [
        (segment, found)
        for segment in segments
        if (found := units(segment.text, style.max_line_width))
    ]
    cues: list[Cue] = []
    for i, (segment, found) in enumerate(spoken):
        until = spoken[i + 1][0].start if i + 1 < len(spoken) else inf
        cues += _cues_of(segment, found, until, style)
    return list(_in_order(cues))


def _cues_of(
    segment: Segment, found: Sequence[Unit], until: float, style: CueStyle
) -> Iterator[Cue]:
    """The cues of one segment; ``until`` is where the next one starts."""
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
    """End and price of each run of units from ``first`` that fits into a cue.

    ``pace`` is seconds a column. Of the ways to break lines, filling each takes the fewest.
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
        price = 1 + (width / capacity) ** 2 + _PRICES[unit.end] + _OVERTIME_PRICE * overtime
        yield index + 1, price


def _line_runs(part: Sequence[Unit], first: int, widest: int) -> Iterator[tuple[int, float]]:
    """End and price of each run of units from ``first`` that fits into a line."""
    width = 0
    for index in range(first, len(part)):
        unit = part[index]
        width += (unit.spaced and index > first) + unit.columns
        if width > widest:
            return
        price = _LINE_PRICE + (width / widest) ** 2 + _LINE_BREAK_SHARE * _PRICES[unit.end]
        yield index + 1, price


def _cheapest(
    count: int, runs: Callable[[int], Iterable[tuple[int, float]]]
) -> list[tuple[int, int]]:
    """``range(count)`` cut into consecutive half-open runs of the least price together.

    ``runs`` gives the end and the price of every run that may begin at an index, at least one.
    """
    prices = [0.0] + [inf] * count
    origins = [0] * (count + 1)
    for first in range(count):
        for end, price in runs(first):
            if prices[first] + price < prices[end]:
                prices[end], origins[end] = prices[first] + price, first
    found: list[tuple[int, int]] = []
    end = count
    while end:
        found.append((origins[end], end))
        end = origins[end]
    return found[::-1]


def _times(
    lengths: Sequence[int], segment: Segment, until: float, style: CueStyle
) -> list[tuple[float, float]]:
    """Start and end of cues with ``lengths`` columns, not in order with other segments' yet."""
    needs = [max(length / style.max_speed, style.min_duration) for length in lengths]
    room = max(0.0, until - segment.start)
    span = min(max(segment.end - segment.start, sum(needs)), room)
    share = min(1.0, span / sum(needs))
    needs = [need * share for need in needs]
    total = sum(lengths)
    borders = [span * length / total for length in accumulate(lengths, initial=0)]
    # Forwards and backwards once: no cue gets less than it needs, and the sum of them fits.
    for i, need in enumerate(needs[:-1]):
        borders[i + 1] = max(borders[i + 1], borders[i] + need)
    for i in range(len(needs) - 1, 0, -1):
        borders[i] = min(borders[i], borders[i + 1] - needs[i])
    return [
        (segment.start + a, segment.start + min(b, a + max(need, style.max_duration)))
        for (a, b), need in zip(pairwise(borders), needs, strict=True)
    ]


def _in_order(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues in whole milliseconds, none before zero, before the last one's end or without time."""
    clock = 0
    for cue in cues:
        start = max(round(cue.start * 1000), clock)
        clock = max(round(cue.end * 1000), start + 1)
        yield Cue(start=start / 1000, end=clock / 1000, lines=cue.lines)


def _width(part: Sequence[Unit]) -> int:
    return sum(unit.columns + unit.spaced for unit in part) - part[0].spaced


def _text(part: Sequence[Unit]) -> str:
    return "".join(" " * unit.spaced + unit.text for unit in part)[part[0].spaced :]
