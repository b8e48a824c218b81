"""Bytes and counts as text for people."""

from __future__ import annotations


def size_text(count: int) -> str:
    """ "3.55 GB": in powers of ten, as the hub counts."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"


def examples_text(count: int) -> str:
    """ "1 example", "1,200 examples"."""
    return "1 example" if count == 1 else f"{count:,} examples"


def turns_text(count: int) -> str:
    """ "1 turn", "2 turns"."""
    return f"{count} turn" if count == 1 else f"{count} turns"
