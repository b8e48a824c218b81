"""Texts before which an answer ends. What may be the beginning of one is held back."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Looks for the first of several texts in one that comes in parts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.found = False
        self._texts = texts
        self._held = ""

    def push(self, text: str) -> str:
        """Add a part; returns what is certainly before a stop text. ``found`` is whether one came.

        Of texts that begin at the same place, and of those inside each other, the first counts.
        """
        if self.found:
            return ""
        self._held += text
        places = [at for each in self._texts if (at := self._held.find(each)) >= 0]
        if places:
            self.found = True
            return self._released(min(places))
        return self._released(len(self._held) - max(map(self._begun, self._texts), default=0))

    def finish(self) -> str:
        """What was held back, of an answer that ends for another reason."""
        return "" if self.found else self._released(len(self._held))

    def _released(self, end: int) -> str:
        text, self._held = self._held[:end], self._held[end:]
        return text

    def _begun(self, text: str) -> int:
        """How many of its first characters are the last ones so far."""
        most = min(len(text) - 1, len(self._held))
        return next((n for n in range(most, 0, -1) if self._held.endswith(text[:n])), 0)
