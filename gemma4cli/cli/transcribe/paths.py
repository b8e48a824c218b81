"""The recordings of a command, and the files that it writes for them.

Two recordings never share an output: names differ by their suffix if the recordings are in the
same folder, and by their folders otherwise.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import OptionError
from ...media.near_names import existing
from ..run.folders import files_in

STDIN = "-"
_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au",
    ".avi", ".caf", ".flac", ".flv", ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov",
    ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus",
    ".ra", ".rm", ".spx", ".tta", ".ts", ".vob", ".w64", ".wav", ".weba", ".webm", ".wma", ".wmv",
    ".wv",
})  # fmt: skip
"""Files with sound. Others in a folder are skipped; a file named as an argument is always read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One recording: messages call it ``given``; ``path`` is None for standard input.

    ``name`` is the path of its outputs without a suffix, relative to the output folder.
    """

    given: str
    path: Path | None
    name: Path


def inputs(arguments: Sequence[str]) -> list[Input]:
    """The recordings that the arguments name; those of a folder are sorted by path.

    Raises OptionError for a folder without recordings and for a file that is named twice.
    """
    found = [each for argument in arguments for each in _found(argument)]
    counts = Counter(STDIN if each.path is None else os.path.abspath(each.path) for each in found)
    for name, count in counts.items():
        if count > 1:
            raise OptionError(f"{name}: is named {count} times")
    return _distinct(found)


def _found(argument: str) -> Iterator[Input]:
    if argument == STDIN:
        yield Input(given=STDIN, path=None, name=Path("stdin"))
        return
    path = existing(Path(argument))
    if not path.is_dir():
        yield Input(given=argument, path=path, name=Path(_stem(path)))
        return
    for file in files_in(path, _SUFFIXES, "recordings"):
        inner = file.relative_to(path)
        yield Input(given=str(file), path=file, name=inner.parent / _stem(file))


def _stem(path: Path) -> str:
    """The name without its suffix, unless another recording in its folder has the same."""
    twins = [
        other
        for other in _beside(path)
        if other.stem == path.stem and other.suffix.lower() in _SUFFIXES
    ]
    return path.name if len(twins) > 1 else path.stem


def _beside(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        # A folder that cannot be listed may hold readable files.
        return [path]


def _distinct(found: list[Input]) -> list[Input]:
    """Put as many parent folders before equal names as makes them distinct."""
    for depth in range(1, 1 + max((_depth(each) for each in found), default=0)):
        counts = Counter(each.name for each in found)
        if max(counts.values(), default=0) < 2:
            break
        found = [
            replace(each, name=_with_parents(each, depth)) if counts[each.name] > 1 else each
            for each in found
        ]
    return found


def _depth(given: Input) -> int:
    return 0 if given.path is None else len(Path(os.path.abspath(given.path)).parents)


def _with_parents(given: Input, depth: int) -> Path:
    if given.path is None:
        return given.name
    parents = Path(os.path.abspath(given.path)).parent.parts[1:]
    return Path(*parents[-depth:], given.name.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where the outputs go: standard output, one file, or files of several formats in a folder."""

    file: Path | None = None
    folder: Path | None = None
    suffixes: tuple[str, ...] = ()

    def paths(self, given: Input) -> tuple[Path, ...]:
        """The output files of an input; none for standard output."""
        if self.folder is not None:
            return tuple(
                self.folder / given.name.with_name(f"{given.name.name}.{suffix}")
                for suffix in self.suffixes
            )
        return () if self.file is None else (self.file,)


def target_of(output: Path | None, count: int, suffixes: Sequence[str]) -> Target:
    """The meaning of ``-o``: a folder if it is one, or if there are several results.

    Raises OptionError if several results need a folder and ``-o`` is not one.
    """
    if output is None or str(output) == STDIN:
        if len(suffixes) > 1:
            raise OptionError("several formats need a folder: pass one with -o")
        return Target()
    if output.is_dir() or count > 1 or len(suffixes) > 1:
        if output.exists() and not output.is_dir():
            raise OptionError(f"{output}: is a file, but several results need a folder")
        return Target(folder=output, suffixes=tuple(suffixes))
    return Target(file=output)


def check_targets(target: Target, given: Iterable[Input]) -> None:
    """Raise OptionError if a result would replace one of the recordings."""
    known = list(given)
    recordings = {os.path.realpath(each.path) for each in known if each.path is not None}
    for each in known:
        for path in target.paths(each):
            if os.path.realpath(path) in recordings:
                raise OptionError(f"{path}: is one of the recordings and would be replaced")
