"""Patterns of JSON schemas as regular expressions of llguidance's grammars."""

from __future__ import annotations

import re

from .byte_document import bytes_as_tokens


def search(pattern: str) -> str | None:
    """A regular expression for whole texts that contain a match; None if it is not possible."""
    inner, start, end = pattern, "(?s:.*)", "(?s:.*)"
    if inner.startswith("^"):
        inner, start = inner[1:], ""
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner, end = inner[:-1], ""
    anchored = not (start and end)
    if (anchored and "|" in re.sub(r"\(.*\)|\[.*\]", "", inner)) or _has_anchor(inner):
        return None
    try:
        re.compile(inner)
    except (re.error, RecursionError, OverflowError):
        return None
    escaped = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", inner).replace("\n", r"\n")
    found = f"{start}({escaped}){end}"
    return found if is_possible(f"start: /{found}/") else None


def _has_anchor(pattern: str) -> bool:
    """Whether ``^`` or ``$`` is in a pattern, outside of brackets and escapes."""
    bare = re.sub(r"\[\^?\]?(\\.|[^\]\\])*\]", "", re.sub(r"\\[\\^$\[\]]", "", pattern))
    return "^" in bare or "$" in bare


def is_possible(grammar: str) -> bool:
    """Whether llguidance takes a grammar in its Lark format, and there is a text that fits it."""
    from llguidance import LLMatcher

    matcher = LLMatcher(bytes_as_tokens(), LLMatcher.grammar_from_lark(grammar), log_level=0)
    return not matcher.is_error() and any(matcher.compute_bitmask()) and not matcher.is_error()
