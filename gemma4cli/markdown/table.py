"""Markdown tables to aligned columns. Pure functions on strings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .inline import BOLD, DIM, Span, spans_of
from .wrap import Words, shown_width, styled

_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
_NARROWEST = 3


def is_delimiter(line: str) -> bool:
    """Whether a line is the delimiter below a table's head, ``|---|:--:|``."""
    return "|" in line and _DELIMITER.fullmatch(line.strip()) is not None


def cells_of(line: str) -> list[str]:
    """The cells of a row; a bar that is escaped or inside code is not a divider."""
    cells, code = [""], False
    body = line.strip().removeprefix("|")
    for index, letter in enumerate(body):
        escaped = index > 0 and body[index - 1] == "\\"
        if letter == "`" and not escaped:
            code = not code and "`" in body[index + 1 :]
        if letter == "|" and not code and not escaped:
            cells.append("")
        else:
            cells[-1] = (
                cells[-1].removesuffix("\\") + letter if letter == "|" else (cells[-1] + letter)
            )
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip() for cell in cells]


def table_lines(rows: Sequence[str], width: int) -> list[str]:
    """A table's source lines, the delimiter second, as lines no wider than ``width`` if possible.

    Every row gets as many cells as the head; additional cells are joined into the last one.
    """
    head = cells_of(rows[0])
    alignments = [_alignment(cell) for cell in cells_of(rows[1])]
    body = [cells_of(row) for row in rows[2:]]
    table = [_fitted(cells, len(head)) for cells in (head, *body)]
    natural = [
        max(_NARROWEST, *(shown_width(_plain(row[column])) for row in table))
        for column in range(len(head))
    ]
    widths = _shares(natural, width - 3 * (len(head) - 1))
    alignments = (alignments + ["<"] * len(head))[: len(head)]
    bar = styled(" │ ", (DIM,))
    lines = _row(table[0], widths, alignments, bar, (BOLD,))
    lines.append(styled("─┼─".join("─" * each for each in widths), (DIM,)))
    for row in table[1:]:
        lines += _row(row, widths, alignments, bar, ())
    return lines


def _alignment(cell: str) -> str:
    if cell.endswith(":"):
        return "^" if cell.startswith(":") else ">"
    return "<"


def _fitted(cells: list[str], count: int) -> list[str]:
    if len(cells) > count:
        return [*cells[: count - 1], " | ".join(cells[count - 1 :])]
    return cells + [""] * (count - len(cells))


def _plain(cell: str) -> str:
    return "".join(span.text for span in spans_of(cell))


def _shares(natural: list[int], available: int) -> list[int]:
    """Column widths: the widest column shrinks until all fit, or all have the minimum width."""
    widths = list(natural)
    while sum(widths) > available and max(widths) > _NARROWEST:
        widest = max(widths)
        widths[widths.index(widest)] = widest - 1
    return widths


def _row(
    cells: Sequence[str],
    widths: Sequence[int],
    alignments: Sequence[str],
    bar: str,
    styles: tuple[str, ...],
) -> list[str]:
    columns = [
        _wrapped(spans_of(cell, styles), width) for cell, width in zip(cells, widths, strict=True)
    ]
    height = max(len(column) for column in columns)
    return [
        bar.join(
            _aligned(column[line] if line < len(column) else "", width, alignment)
            for column, width, alignment in zip(columns, widths, alignments, strict=True)
        ).rstrip()
        for line in range(height)
    ]


def _wrapped(spans: list[Span], width: int) -> list[str]:
    words = Words(lambda: width)
    return (words.add(spans) + words.end()).rstrip("\n").split("\n")


def _aligned(text: str, width: int, alignment: str) -> str:
    missing = max(0, width - shown_width(text))
    left = {"<": 0, "^": missing // 2, ">": missing}[alignment]
    return " " * left + text + " " * (missing - left)
