"""Small files that may be something else: a device, or a pipe without an end."""

from __future__ import annotations

import errno
from pathlib import Path

MOST_BYTES = 64 << 20
"""Conversations, schemas and settings are far smaller; tokenizers of Gemma 4 have 32 MB."""


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file. Raises OSError, also if there is more than ``most`` bytes."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MB", str(path))
    return content
