"""Text and JSON lines to standard output or a file."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..escapes import in_json, printable
from .files import replaced_file

_STRAY_BYTE = re.compile("[\udc80-\udcff]")


def write_text(stream: TextIO, text: str) -> None:
    """Write an answer and end its last line."""
    stream.write(printable(text, stream))
    if not text.endswith("\n"):
        stream.write("\n")
    stream.flush()


def write_json(stream: TextIO, value: Mapping[str, Any]) -> None:
    """Write one object on one line.

    Bytes of file names that are not UTF-8 are escapes of single surrogates, ``\\udce9`` for E9,
    which ``os.fsencode`` turns back; where ``input`` has such, ``input_bytes`` has the name in
    base64 for programs that cannot. On a terminal, what is not visible is escaped.
    """
    ascii_only = "utf" not in (getattr(stream, "encoding", None) or "utf-8").lower()
    line = json.dumps(_with_bytes(value), ensure_ascii=ascii_only)
    line = _STRAY_BYTE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
    stream.write(f"{in_json(line) if stream.isatty() else line}\n")
    stream.flush()


def _with_bytes(value: Mapping[str, Any]) -> Mapping[str, Any]:
    given = value.get("input")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not any(map(_STRAY_BYTE.search, names)):
        return value
    encoded = [b64encode(os.fsencode(name)).decode() for name in names]
    return {**value, "input_bytes": encoded[0] if isinstance(given, str) else encoded}


@contextmanager
def opened_output(path: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name when it is complete or interrupted."""
    if path is None:
        yield stdout
        return
    with replaced_file(path, keeps_partial=True) as file:
        yield file
