"""Where results go: the meaning of ``-o``, the same for every command.

A folder, or a name that ends in a slash, is a folder, in which files are named by their inputs; any
other name is a file. All of it is checked before a model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from ...errors import OptionError
from ..environment import Environment
from ..output.claims import Seen
from ..output.writable import check_folder, check_writable
from .inputs import STDIN, Input, check_named_once
from .names import checksum
from .options import RunOptions
from .protected import check_protected

LINES_SUFFIXES = frozenset({"jsonl", "ndjson"})
"""Suffixes of files with one JSON object per line."""

_MOST_BYTES = 255
"""Of a file's name, on nearly every file system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Standard output, one file, or files of one or several formats for each input.

    Those are in a folder, or, with ``beside``, next to their inputs. ``seen`` is what the one file
    was like at first.
    """

    file: Path | None = None
    folder: Path | None = None
    beside: bool = False
    suffixes: tuple[str, ...] = ()
    seen: Seen | None = field(default=None, compare=False)

    @property
    def is_stdout(self) -> bool:
        return self.file is None and not self.is_separate

    @property
    def is_separate(self) -> bool:
        """Whether each input has its own files."""
        return self.folder is not None or self.beside

    @property
    def label(self) -> str:
        """What messages call it."""
        if self.beside:
            return "files beside the inputs"
        return "standard output" if self.is_stdout else str(self.file or f"{self.folder}/")

    def paths(self, given: Input) -> tuple[Path, ...]:
        """The output files of an input; none for standard output."""
        if self.file is not None:
            return (self.file,)
        if not self.is_separate:
            return ()
        folder, name = self.folder or Path(), given.name
        if self.beside:
            folder = Path() if given.path is None else given.path.parent
            name = Path(name.name)
        return tuple(folder / _with_suffix(name, suffix) for suffix in self.suffixes)

    def check(
        self,
        env: Environment,
        run: RunOptions,
        given: Collection[Input],
        others: Iterable[Path] = (),
    ) -> None:
        """Raise OptionError if a result cannot be written or would replace what is not a result.

        ``others`` are further files that the command reads.
        """
        if self.is_separate:
            check_named_once(given)
        read = (each.path for each in given if each.path is not None)
        check_protected(env, run, _Files(self, given), chain(read, others))
        folders: set[Path] = set()
        for path in _Files(self, given):
            if not self.is_separate:
                check_writable(path)
            elif os.path.isdir(path):
                raise OptionError(f"{path}: is a folder, but a result would get this name")
            elif path.parent not in folders:
                folders.add(path.parent)
                check_folder(path.parent)


@dataclass(frozen=True, slots=True)
class _Files(Iterable[Path]):
    """The output files of all inputs, of which each iteration makes one after the other."""

    target: Target
    given: Iterable[Input]

    def __iter__(self) -> Iterator[Path]:
        if self.target.file is not None:
            yield self.target.file
        elif self.target.is_separate:
            for each in self.given:
                yield from self.target.paths(each)


def target_of(
    output: str | None, *, several: bool, suffixes: Sequence[str], shared: bool = False
) -> Target:
    """The meaning of ``-o`` for results with ``suffixes``; ``several`` for several inputs.

    ``shared`` results may share one file: a name without a suffix is then a folder, too. Raises
    OptionError if the results need a folder and ``-o`` is not one.
    """
    if output is None or output == STDIN:
        if len(suffixes) > 1:
            raise OptionError("several formats need a folder: pass one with -o")
        return Target()
    path = Path(output)
    exists = os.path.lexists(path)
    if is_folder(output):
        if exists and not os.path.isdir(path):
            raise OptionError(f"{output}: is a file, not a folder")
        return Target(folder=path, suffixes=tuple(suffixes))
    if several and shared:
        if exists or path.suffix:
            return Target(file=path, seen=Seen.at(path))
    elif not several and len(suffixes) == 1:
        return Target(file=path, seen=Seen.at(path))
    if exists:
        raise OptionError(f"{output}: is a file, but several results need a folder")
    if path.suffix:
        raise OptionError(
            f"{output}: one file cannot hold several results; name a folder: -o {path.stem}/"
        )
    return Target(folder=path, suffixes=tuple(suffixes))


def is_folder(output: str | None) -> bool:
    """Whether ``-o`` is the name of a folder: it is one, or ends in a slash."""
    return output is not None and (output.endswith(os.sep) or os.path.isdir(output))


def suffix_of(output: str | None) -> str:
    """The suffix of the file that ``-o`` names, in lower case without its dot; "" for a folder."""
    if output is None or output == STDIN or is_folder(output):
        return ""
    return Path(output).suffix[1:].lower()


def check_no_format(output: str | None, formats: Collection[str]) -> None:
    """Raise OptionError for ``-osrt``, which other programs take for a format."""
    if output in formats and not is_folder(output):
        raise OptionError(
            f"-o {output}: would write a file called {output}; the format is -f {output}, "
            f"a file of this name is -o ./{output}"
        )


def _with_suffix(name: Path, suffix: str) -> Path:
    """``name`` and the suffix; a name that is too long with it is cut and gets a checksum."""
    whole = os.fsencode(f"{name.name}.{suffix}")
    if len(whole) <= _MOST_BYTES:
        return name.with_name(os.fsdecode(whole))
    digits = checksum(os.fsdecode(whole))
    kept = os.fsencode(name.name)[: _MOST_BYTES - len(suffix) - len(digits) - 2]
    return name.with_name(f"{kept.decode('utf-8', 'ignore')}~{digits}.{suffix}")
