"""Small files that may be something else: a device, or a pipe without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 << 20
"""Conversations, schemas and settings are far smaller; tokenizers of Gemma 4 have 32 MB."""

_BLOCK = 1 << 20


def read_bounded(path: Path, most: int = MOST_BYTES, *, regular: bool = False) -> bytes:
    """The content of a file.

    Raises OSError, also if there is more than ``most`` bytes. With ``regular``, so is a device or
    a pipe, which is not waited for.
    """
    waits = os.O_NONBLOCK if regular else 0
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no file has such a name", str(path))
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | waits)) as file:
        if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = read_at_most(file, most + 1)
    if len(content) > most:
        size = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} KB"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return content


def read_at_most(stream: BinaryIO, count: int) -> bytes:
    """The first ``count`` bytes of a stream, or all if there are fewer.

    A plain ``read(count)`` takes memory for all of them before it reads.
    """
    content = bytearray()
    while len(content) < count and (block := stream.read(min(_BLOCK, count - len(content)))):
        content += block
    return bytes(content)
