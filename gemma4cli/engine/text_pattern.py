"""Patterns of JSON schemas as regular expressions of llguidance's grammars."""

from __future__ import annotations

import re


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
    return None if problem_of(f"start: /{found}/") is not None else found


def _has_anchor(pattern: str) -> bool:
    """Whether ``^`` or ``$`` is in a pattern, outside of brackets and escapes."""
    bare = re.sub(r"\[\^?\]?(\\.|[^\]\\])*\]", "", re.sub(r"\\[\\^$\[\]]", "", pattern))
    return "^" in bare or "$" in bare


def problem_of(grammar: str) -> str | None:
    """Why llguidance does not take a grammar; None if it does."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(
        LLMatcher.grammar_from_lark(grammar)
    )
    return "\n".join(messages) if is_error else None
