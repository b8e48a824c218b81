"""Where the frames of a track are in time, by the clock of the file and by their lengths."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_SHORTEST_GAP = Fraction(1, 10)
"""Longer gaps in the time stamps are pauses; shorter ones are inaccurate time stamps."""


@dataclass(kw_only=True, slots=True)
class Timeline:
    """Where the sound so far ends, and how far the clock of the file is behind that; in seconds."""

    end: Fraction | None = None
    offset: Fraction = Fraction(0)

    def add(self, begin: Fraction | None, length: Fraction, longest: float) -> Fraction:
        """Where a frame begins that begins at ``begin`` by the clock; None if it does not say.

        A clock that goes back, or that advances by more than ``longest``, was set anew.
        """
        if self.end is None:
            at = Fraction(0) if begin is None else begin + self.offset
        else:
            at = self.end
            gap = Fraction(0) if begin is None else begin + self.offset - self.end
            if gap < -_SHORTEST_GAP or gap > longest:
                self.offset -= gap
            elif gap > _SHORTEST_GAP:
                at += gap
        self.end = at + length
        return at
