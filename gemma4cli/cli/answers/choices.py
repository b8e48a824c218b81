"""What the option ``--format`` of commands that answer may be set to."""

from __future__ import annotations

from typing import Literal

AnswerFormat = Literal["txt", "caption", "json"]
"""What a file for each input has: the answer, the answer on one line, or its JSON record."""
