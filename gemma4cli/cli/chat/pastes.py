"""Long pasted text, which the prompt shows as one short mark."""

from __future__ import annotations

import re

LONGEST_SHOWN = 4000
"""Characters; longer pastes are collapsed."""

_MARK = re.compile(r"\[pasted text (\d+): [\d,]+ characters(?:, [\d,]+ lines)?\]")


class Pastes:
    """The texts for which marks stand in this run."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    @staticmethod
    def is_marked(text: str) -> bool:
        """Whether a text has the mark of a paste."""
        return _MARK.search(text) is not None

    def collapsed(self, text: str) -> str:
        """The text with marks for earlier pastes in it, or one mark if it is still long."""
        for number, known in enumerate(self._texts, start=1):
            text = text.replace(known, _mark(number, known))
        if len(text) <= LONGEST_SHOWN:
            return text
        self._texts.append(text)
        return _mark(len(self._texts), text)

    def expanded(self, text: str) -> str:
        """The text with what its marks stand for."""

        def original(mark: re.Match[str]) -> str:
            number = int(mark[1])
            return self._texts[number - 1] if 0 < number <= len(self._texts) else mark[0]

        return _MARK.sub(original, text)


def _mark(number: int, text: str) -> str:
    lines = text.count("\n") + 1
    size = f"{len(text):,} characters" + (f", {lines:,} lines" if lines > 1 else "")
    return f"[pasted text {number}: {size}]"
