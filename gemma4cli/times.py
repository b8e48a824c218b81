"""Times as text: one function per format."""

from __future__ import annotations


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
