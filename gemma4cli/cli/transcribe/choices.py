"""What the options of ``g4 transcribe`` may be set to."""

from __future__ import annotations

from typing import Literal, cast, get_args

from ...errors import OptionError

Format = Literal["txt", "srt", "vtt", "tsv", "json", "all"]
Shown = Literal["translation", "original"]
Channels = int | Literal["mix", "separate"]

FORMATS: tuple[str, ...] = tuple(name for name in get_args(Format) if name != "all")
"""The formats of single files."""

TEXT_SUFFIXES = frozenset({"", "text", "md", "log"})
"""Suffixes of files that get plain text, besides txt."""


_MOST_DIGITS = 9


def channels_of(text: str) -> Channels:
    """The value of ``--channels``. Raises OptionError."""
    text = text.strip().lower()
    if text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) > 0:
        return int(text)
    if text not in ("mix", "separate"):
        raise OptionError(f"--channels takes mix, separate or a number from 1, not {text[:40]!r}")
    return cast(Literal["mix", "separate"], text)
