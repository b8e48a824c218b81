"""The two-line answer of the speech translation prompt, taken apart."""

from __future__ import annotations

import re


def parted(answer: str, target: str) -> tuple[str, str | None]:
    """Transcript and translation of an answer such as "Guten Tag.\\nEnglish: Good day."

    None for a translation that is not there. ``target`` is the name that the prompt gave.
    """
    mark = re.compile(rf"^[ \t]*{re.escape(target)}[ \t]*:", re.IGNORECASE | re.MULTILINE)
    found = list(mark.finditer(answer))
    if not found:
        return _one_line(answer), None
    # The transcript comes first, and may itself have a line that begins so.
    last = found[-1]
    return _one_line(answer[: last.start()]), _one_line(answer[last.end() :])


def _one_line(text: str) -> str:
    return " ".join(text.split())
