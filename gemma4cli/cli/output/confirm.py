"""Yes or no, asked on standard error so that standard output stays the answer's."""

from __future__ import annotations

import sys

from .terminal import is_terminal, printable


def can_ask() -> bool:
    """Whether a person sees a question and can answer it."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def confirmed(question: str) -> bool:
    """Whether a person says yes; anything else, and the end of the input, is no."""
    # Not with input(), which prompts on standard output.
    sys.stderr.write(printable(f"{question} [y/N] ", sys.stderr))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
