"""Text and JSON lines to standard output, or to a file that is written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import Any, TextIO

from ...errors import OptionError
from ..environment import printable


def write_text(stream: TextIO, text: str) -> None:
    """Write an answer and end its last line."""
    stream.write(printable(text, stream))
    if not text.endswith("\n"):
        stream.write("\n")
    stream.flush()


def write_json(stream: TextIO, value: Mapping[str, Any]) -> None:
    """Write one object on one line."""
    ascii_only = "utf" not in (getattr(stream, "encoding", None) or "utf-8").lower()
    stream.write(json.dumps(value, ensure_ascii=ascii_only) + "\n")
    stream.flush()


@contextmanager
def opened_output(path: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name when it is complete.

    After an interrupt the file stays, with what was written until then.
    """
    if path is None or str(path) == "-":
        yield stdout
        return
    try:
        if path.is_dir():
            raise OptionError(f"{path}: is a folder; name a file")
        if path.exists() and not path.is_file():
            # A pipe or a device is written to directly and must not be replaced.
            handle, written = os.open(path, os.O_WRONLY), None
        else:
            path = path.resolve()  # replace the target of a link, not the link
            handle, written = mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    except OSError as exc:
        raise OptionError(f"{path}: cannot be written ({exc.strerror})") from exc
    keep = False
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            try:
                yield file
                keep = True
            except KeyboardInterrupt:
                keep = written is not None and file.tell() > 0
                raise
            finally:
                file.flush()
                if written is not None:
                    os.fsync(file.fileno())
    finally:
        if written is not None and keep:
            _publish(Path(written), path)
        elif written is not None:
            os.unlink(written)


def _publish(written: Path, path: Path) -> None:
    """Give a finished file its name, and the permissions of a new file."""
    umask = os.umask(0)
    os.umask(umask)
    written.chmod(0o666 & ~umask)
    written.replace(path)
