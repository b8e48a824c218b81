"""Times as text, one function per format, and text as times."""

from __future__ import annotations

import re

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?|[.,]\d+)")
_UNITS = re.compile(
    r"(?:(\d+(?:[.,]\d+)?)\s*h)?\s*(?:(\d+(?:[.,]\d+)?)\s*m(?:in)?)?\s*"
    r"(?:(\d+(?:[.,]\d+)?)\s*s(?:ec)?)?",
    re.IGNORECASE,
)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded; negative times become 0."""
    return max(0, round(seconds * 1000))


def minutes_label(seconds: float) -> str:
    """``mm:ss`` as the model reads it: truncated, minutes may exceed 59. 3725.9 -> "62:05"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def clock(seconds: float) -> str:
    """Rounded to seconds, for the terminal: "1:02:03", or "2:03" below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def subtitle_time(seconds: float, separator: str) -> str:
    """``hh:mm:ss`` and milliseconds; the hours take a third digit from 100 hours on."""
    minutes, rest = divmod(milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"


def file_time(seconds: float) -> str:
    """A time that sorts in file names, minutes may exceed 59: "03m04.500s"."""
    minutes, rest = divmod(milliseconds(seconds), 60_000)
    return f"{minutes:02d}m{rest // 1000:02d}.{rest % 1000:03d}s"


def seconds_of(text: str) -> float:
    """A time as people type it: "90", "1:30", "0:01:30.5", "90s" or "1m30s"; any number as it is.

    Raises ValueError for anything else.
    """
    stripped = text.strip()
    try:
        return float(stripped)
    except ValueError:
        pass
    found = _CLOCK.fullmatch(stripped) or _UNITS.fullmatch(stripped)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a time such as 90, 1:30 or 1m30s")
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds
