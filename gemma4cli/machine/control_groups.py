"""What Linux's control groups let this process have of the memory: containers, systemd's slices.

The limit of each group counts for all groups below it, so those on the way up from the group of
this process all count. Where a hierarchy is mounted, ``/proc/self/mountinfo`` says; a container may
be shown only the part of it that begins at its own group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_FILES = {
    "cgroup2": ("memory.max", "memory.current"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""The files of limit and usage in bytes, by the type of the hierarchy's file system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mount:
    """A hierarchy that counts memory: at ``folder`` is what the group ``top`` contains."""

    kind: str
    folder: str
    top: str = "/"


_USUAL = (
    _Mount(kind="cgroup2", folder="/sys/fs/cgroup"),
    _Mount(kind="cgroup", folder="/sys/fs/cgroup/memory"),
)
_MOUNT = re.compile(r"^(?:\S+ ){3}(\S+) (\S+) .*? - (cgroup2?) \S+ (\S+)$", re.MULTILINE)


def memory_limits(root: Path = Path("/")) -> list[tuple[int, int]]:
    """Limit and usage, in bytes, of each control group that limits this process.

    Inactive file cache does not count as usage: the kernel frees it on demand. Groups without a
    limit are left out.
    """
    groups = dict(_groups(text_of(root / "proc/self/cgroup")))
    mounts = list(_mounts(text_of(root / "proc/self/mountinfo"))) or _USUAL
    found = [
        _limit(folder, *_FILES[mount.kind])
        for mount in mounts
        for folder in _way_up(root / mount.folder.lstrip("/"), mount.top, groups.get(mount.kind))
    ]
    return [each for each in found if each is not None]


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """The group of this process in each hierarchy that can count memory."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if "memory" in controllers.split(","):
            yield "cgroup", group
        elif number == "0" and not controllers:
            yield "cgroup2", group


def _mounts(text: str) -> Iterator[_Mount]:
    for top, folder, kind, options in _MOUNT.findall(text):
        if kind == "cgroup2" or "memory" in options.split(","):
            yield _Mount(kind=kind, folder=_unescaped(folder), top=_unescaped(top))


def _unescaped(name: str) -> str:
    """A name of ``mountinfo``, where spaces and backslashes are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def _way_up(folder: Path, top: str, group: str | None) -> list[Path]:
    """The folders of a group and of those above it, as far as they are shown at ``folder``."""
    inner = PurePosixPath(group or top)
    # ".." begins the name of a group that a container is not shown.
    if ".." in inner.parts or not inner.is_relative_to(top):
        return [folder]
    below = inner.relative_to(top)
    return [folder / each for each in (below, *below.parents) if each.parts] + [folder]


def _limit(folder: Path, limit: str, used: str) -> tuple[int, int] | None:
    numbers = [text_of(folder / name).strip() for name in (limit, used)]
    if not all(number.isdecimal() for number in numbers):
        return None
    cached = re.search(r"^(?:total_)?inactive_file (\d+)", text_of(folder / "memory.stat"), re.M)
    free_again = int(cached.group(1)) if cached else 0
    return int(numbers[0]), max(0, int(numbers[1]) - free_again)


def text_of(path: Path) -> str:
    """What a file of the kernel says; nothing if it is not there."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
