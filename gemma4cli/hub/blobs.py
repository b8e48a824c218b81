"""The layout of a repository in the cache, as huggingface_hub documents it: blobs and links.

Content lies in ``blobs`` under its checksum, and ``snapshots/<commit>`` links to it. The names of
both were checked; nothing else that a hub says becomes part of a path.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_small(blob: Path, content: bytes) -> None:
    """Save a small file's content whole or not at all. Raises OSError."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.{os.getpid()}.incomplete")
    try:
        part.write_bytes(content)
        part.replace(blob)
    finally:
        part.unlink(missing_ok=True)


def link(blob: Path, name: Path) -> None:
    """Make ``name``, in a snapshot, lead to ``blob``; without links on the disk it is moved there.

    Raises OSError.
    """
    if name.exists() and not name.is_symlink() and not blob.exists():
        return  # moved there before
    name.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(blob, name.parent)
    if name.is_symlink() and os.readlink(name) == target:
        return
    name.unlink(missing_ok=True)
    try:
        name.symlink_to(target)
    except (NotImplementedError, PermissionError, OSError) as exc:
        if isinstance(exc, FileExistsError):  # another g4 was faster
            return
        shutil.move(blob, name)


def set_main(root: Path, commit: str) -> None:
    """Remember the revision of the main branch. Raises OSError."""
    ref = root / "refs" / "main"
    if ref.is_file() and ref.read_text("utf-8", "replace") == commit:
        return
    write_small(ref, commit.encode())
