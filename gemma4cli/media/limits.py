"""How large a picture may be, checked before it is decoded."""

from __future__ import annotations

from ..errors import MediaDecodeError
from ..messages import Source

MAX_PIXELS = 178_956_970
"""Pixels that a picture or a frame may have at most (512 MiB of RGB)."""


def check_size(source: Source, width: int, height: int) -> None:
    """Raises MediaDecodeError unless the size in pixels is one that can be decoded."""
    if width < 1 or height < 1:
        raise MediaDecodeError(source.name, f"has no pixels ({width}x{height})")
    if width * height > MAX_PIXELS:
        raise MediaDecodeError(
            source.name,
            f"is too large: {width}x{height} pixels; at most {MAX_PIXELS:,} are read",
        )
