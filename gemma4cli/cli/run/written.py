"""What an earlier run has written, in every command: ``--skip-existing``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checked_json import JsonError, parse
from ...errors import OptionError
from ...records import Given, Record, named
from ..environment import Environment
from ..output.files import replaced_file
from .inputs import Input
from .targets import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Numbers of the inputs that are done, and the lines of the file of JSON lines that stay."""

    numbers: AbstractSet[int] = frozenset()
    begin: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class _LinesThatStay(Iterable[str]):
    """Lines of a file by their numbers, read when they are wanted: they may be hundreds of MB."""

    path: Path
    numbers: AbstractSet[int]

    def __iter__(self) -> Iterator[str]:
        return (line for n, line in enumerate(_lines_of(self.path)) if n in self.numbers)


def written_before(
    target: Target,
    inputs: Sequence[Input],
    names: Sequence[Given],
    *,
    lines: bool,
    may_be_empty: bool = False,
) -> Written:
    """The inputs whose results are in their files, or in ``lines`` of JSON.

    ``names`` are what records call the inputs; ``may_be_empty`` counts empty files, too. Raises
    OptionError if several inputs share a text, or the output is no file.
    """
    if target.file is not None and lines:
        found = {key: line for line, key in _results_in(target.file)}
        numbers = {n for n, name in enumerate(names) if _key(named(name)) in found}
        stay = _LinesThatStay(target.file, frozenset(found.values()))
        return Written(numbers=numbers, begin=stay)
    if target.is_stdout or (target.file is not None and len(inputs) > 1):
        raise OptionError(
            "--skip-existing needs a file for each input or JSON lines: "
            "pass -o FOLDER/ or -o FILE.jsonl"
        )
    least = 0 if may_be_empty else 1
    return Written(
        numbers={
            number
            for number, each in enumerate(inputs)
            if all(
                os.path.isfile(path) and os.path.getsize(path) >= least
                for path in target.paths(each)
            )
        }
    )


def check_no_others(
    target: Target, count_others: Callable[[Iterable[str]], int], *, lines: bool
) -> None:
    """Raise OptionError if a file that would be replaced has results of other shards.

    It has ``lines`` of JSON, or else text. ``count_others`` says how many inputs are theirs.
    """
    if target.file is None:
        return
    count = count_others(_inputs_in(target.file) if lines else _labels_in(target.file))
    if count:
        keep = ", or add --skip-existing to keep them" if lines else ""
        raise OptionError(
            f"{target.file}: has {count:,} of the results of other shards, which would be "
            f"replaced; name a file for each shard{keep}"
        )


def _inputs_in(path: Path) -> Iterator[str]:
    """The inputs of the results in a file of JSON lines."""
    for _, key in _results_in(path):
        name = json.loads(key)[0]
        if isinstance(name, str):
            yield name


def _labels_in(path: Path) -> Iterator[str]:
    """What may be labels in a file of answers as text: each beginning of a line with a colon."""
    for line in _lines_of(path):
        for colon in re.finditer(r":(?=\s)", line):
            yield line[: colon.start()]


def write_nothing(target: Target) -> None:
    """Write the one file without a result, for programs that wait for one from every shard."""
    if target.file is not None and not os.path.lexists(target.file):
        with replaced_file(target.file):
            pass


def say_skipped(env: Environment, target: Target, skipped: int, total: int) -> None:
    """Say how many inputs are skipped."""
    if skipped:
        again = "; --restart replaces them" if target.beside else ""
        env.say(f"skipped: {skipped} of {total} were written before{again}")


def _results_in(path: Path) -> Iterator[tuple[int, str]]:
    """The line from 0 and the input of each result in a file of JSON lines, without errors."""
    for number, line in enumerate(_lines_of(path)):
        try:
            record: Any = parse(line) if line.endswith("\n") else None
        except JsonError:
            continue
        if isinstance(record, dict) and "text" in record:
            yield number, _key(record)


def _lines_of(path: Path) -> Iterator[str]:
    """The lines of a text, none if it is not there. Raises OptionError."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as exc:
        raise OptionError(f"{path}: cannot be read ({exc.strerror})") from exc


def _key(record: Record) -> str:
    """What the record is about."""
    return json.dumps([record.get("input"), record.get("page")])
