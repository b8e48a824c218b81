"""The largest image size, checked before decoding."""

from __future__ import annotations

from ..errors import MediaDecodeError
from ..messages import Source

MAX_PIXELS = 178_956_970
"""The most pixels of an image or a frame (512 MiB of RGB)."""


def check_size(source: Source, width: int, height: int) -> None:
    """Raises MediaDecodeError for sizes without pixels and above ``MAX_PIXELS``."""
    if width < 1 or height < 1:
        raise MediaDecodeError(source.name, f"has no pixels ({width}x{height})")
    if width * height > MAX_PIXELS:
        raise MediaDecodeError(
            source.name,
            f"is too large: {width}x{height} pixels; the limit is {MAX_PIXELS:,}",
        )
