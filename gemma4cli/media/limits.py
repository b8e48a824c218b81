"""Limits that are checked before anything is read or decoded.

``G4_MAX_STREAM_MB`` replaces the limit of pipes and standard input that are read to their end.
"""

from __future__ import annotations

from ..errors import MediaDecodeError
from ..limit_variables import limit_of
from ..messages import Source

MAX_PIXELS = 178_956_970
"""The most pixels of an image (512 MiB of RGB)."""

MAX_FRAME_PIXELS = 35_651_584
"""The most pixels of a clip's frame: of the highest levels of H.264, HEVC and AV1, 8192x4352."""

STREAM_VARIABLE = "G4_MAX_STREAM_MB"
_MOST_STREAM_MB = 1e9
MEMORY_STREAM_MB, DISK_STREAM_MB = 256, 4096
"""The most that is read of a pipe whose content is kept in memory, or in a temporary file."""


def stream_limit(default_mb: int) -> int:
    """The most bytes to read of a pipe or of standard input. Raises OptionError."""
    megabytes = limit_of(STREAM_VARIABLE, default_mb, "MB", most=_MOST_STREAM_MB)
    return int(megabytes * (1 << 20))


def endless(name: str, limit: int) -> MediaDecodeError:
    """The error for a pipe with more than ``limit`` bytes."""
    return MediaDecodeError(
        name,
        f"has more than {limit / (1 << 20):,g} MB: save it to a file and pass that, or allow more "
        f"with {STREAM_VARIABLE}",
    )


def check_size(source: Source, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raises MediaDecodeError for sizes without pixels, and with more than ``most``."""
    if width < 1 or height < 1:
        raise MediaDecodeError(source.name, f"has no pixels ({width}x{height})")
    if width * height > most:
        raise MediaDecodeError(
            source.name,
            f"is too large: {width}x{height} pixels; the limit is {most:,}",
        )
