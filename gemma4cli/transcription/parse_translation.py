"""The two-line answer to the speech translation prompt."""

from __future__ import annotations

import re


def split_translation(answer: str, target: str) -> tuple[str, str | None]:
    """Transcript and translation of an answer such as "Guten Tag.\\nEnglish: Good day."

    ``target`` is the language as the prompt named it. The translation is None if it is missing.
    """
    mark = re.compile(rf"^[ \t]*{re.escape(target)}[ \t]*:", re.IGNORECASE | re.MULTILINE)
    found = list(mark.finditer(answer))
    if not found:
        return _one_line(answer), None
    # The transcript comes first and may contain a line that starts the same way.
    last = found[-1]
    return _one_line(answer[: last.start()]), _one_line(answer[last.end() :])


def _one_line(text: str) -> str:
    return " ".join(text.split())
