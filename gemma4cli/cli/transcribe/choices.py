"""What the options of ``g4 transcribe`` may be set to, and the files that it takes."""

from __future__ import annotations

from typing import Literal, cast, get_args

from ...errors import OptionError
from ..run.inputs import Kind

Format = Literal["txt", "srt", "vtt", "tsv", "json", "all"]
Shown = Literal["translation", "original"]
Channels = int | Literal["mix", "separate"]

FORMATS: tuple[str, ...] = tuple(name for name in get_args(Format) if name != "all")
"""The formats of single files."""

TEXT_SUFFIXES = frozenset({"", "text", "md", "log"})
"""Suffixes of files that get plain text, besides txt."""

_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au",
    ".avi", ".caf", ".flac", ".flv", ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov",
    ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus",
    ".ra", ".rm", ".spx", ".tta", ".ts", ".vob", ".w64", ".wav", ".weba", ".webm", ".wma", ".wmv",
    ".wv",
})  # fmt: skip
RECORDINGS = Kind(plural="recordings", suffixes=_SUFFIXES)
"""Files with sound. Others in a folder are skipped; a file named as an argument is always read."""


def channels_of(text: str) -> Channels:
    """The value of ``--channels``. Raises OptionError."""
    text = text.strip().lower()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text not in ("mix", "separate"):
        raise OptionError(f"--channels takes mix, separate or a number from 1, not {text!r}")
    return cast(Literal["mix", "separate"], text)
