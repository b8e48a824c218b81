"""The base of all errors, and the message that several of them share."""

from __future__ import annotations


class Gemma4Error(Exception):
    """Base of every error that g4 raises on purpose."""


_TRY_ANYWAY = "or set G4_IGNORE_MEMORY=1 to try anyway"


def too_large(what: str, needed: int, free: int, hint: str) -> str:
    """A message about a lack of memory; ``needed`` and ``free`` are in bytes."""
    return (
        f"{what} needs about {_size(needed)} of memory; {_size(free)} available: "
        f"{hint}, {_TRY_ANYWAY}"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
