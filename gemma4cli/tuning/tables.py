"""Tables of captions and transcripts beside media, as data sets have them.

metadata.jsonl, metadata.csv     file_name and text (Hugging Face's image and audio folders)
metadata.csv with bars           id|transcript, recordings in wavs/ (LJSpeech)
*.tsv                            path and sentence, recordings in clips/ (Common Voice)
*.trans.txt                      id transcript, recordings beside it (LibriSpeech)
*.json                           {"a.png": {"caption": …}} (kohya's meta_cap.json)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bounded import read_bounded
from ..checked_json import JsonError, parse
from ..plain_text import decode_text

FILE_FIELDS = ("file_name", "file", "path", "audio", "image", "audio_filepath", "image_path")
TEXT_FIELDS = ("text", "caption", "transcription", "transcript", "sentence", "normalized_text")
"""Names of the columns with a medium's file and with its text, the first that is there."""
_TABLES = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "manifest.jsonl", "manifest.json")
_FOLDERS = ("", "wavs", "clips", "audio", "images")
"""Where the files of a table are, from the table's folder."""
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of files that a table names without one."""


class TableError(Exception):
    """A table, or a line of it, cannot be read; ``line`` is its number, from 1."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of a table: the file that it names, and the text for it."""

    line: int
    file: str
    text: str
    medium: Path | None
    """None if there is no such file."""


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder; kohya's JSON files and LibriSpeech's lists among them."""
    named = [folder / name for name in _TABLES if (folder / name).is_file()]
    others = [*folder.glob("*.trans.txt"), *folder.glob("meta_*.json")]
    if not named:
        others += folder.glob("*.tsv")
    return sorted({*named, *others})


def rows_of(table: Path) -> Iterator[Row | TableError]:
    """The rows of a table, or what is wrong with one. Raises TableError for all of it."""
    try:
        found = decode_text(read_bounded(table))
    except OSError as exc:
        raise TableError(f"cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise TableError("is not UTF-8 text")
    if table.suffix == ".jsonl" or table.name == "manifest.json":
        yield from _json_lines(found.text, table)
    elif table.suffix == ".json":
        yield from _captions(found.text, table)
    elif table.name.endswith(".trans.txt"):
        for number, line in enumerate(found.text.split("\n"), start=1):
            file, _, text = line.partition(" ")
            if file:
                yield _row(table, number, file, text)
    else:
        yield from _cells(found.text, table)


def _row(table: Path, line: int, file: str, text: str) -> Row:
    return Row(line=line, file=file, text=text.strip(), medium=_medium(table.parent, file))


def _medium(folder: Path, name: str) -> Path | None:
    for inner in _FOLDERS:
        path = folder / inner / name
        for each in (path, *(path.with_name(path.name + suffix) for suffix in _SUFFIXES)):
            if each.is_file():
                return each
    return None


def _json_lines(content: str, table: Path) -> Iterator[Row | TableError]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            data = parse(line)
        except JsonError as exc:
            yield TableError(str(exc), number)
            continue
        if not isinstance(data, dict):
            yield TableError("is not an object", number)
            continue
        yield _of_fields(data, table, number)


def _of_fields(data: Mapping[str, Any], table: Path, number: int) -> Row | TableError:
    file, text = (
        next((data[name] for name in names if isinstance(data.get(name), str)), None)
        for names in (FILE_FIELDS, TEXT_FIELDS)
    )
    if file is None:
        return TableError(f"names no file: write it as {FILE_FIELDS[0]!r}", number)
    if text is None:
        return TableError(f"has no text: write it as {TEXT_FIELDS[0]!r}", number)
    return _row(table, number, file, text)


def _captions(content: str, table: Path) -> Iterator[Row | TableError]:
    try:
        data = parse(content)
    except JsonError as exc:
        raise TableError(str(exc)) from exc
    if not isinstance(data, dict):
        raise TableError("is not an object of files")
    for file, fields in data.items():
        text = fields.get("caption") or fields.get("tags") if isinstance(fields, dict) else fields
        if isinstance(text, str):
            yield _row(table, 1, file, text)
        else:
            yield TableError(f"{file}: has no caption")


def _cells(content: str, table: Path) -> Iterator[Row | TableError]:
    first = content.partition("\n")[0]
    bars = "|" in first and not any(name in first.split(",") for name in FILE_FIELDS)
    mark = "\t" if table.suffix == ".tsv" else "|" if bars else ","
    rows = io.StringIO(content, newline="")
    if mark == ",":
        lines = csv.reader(rows)
    else:
        lines = csv.reader(rows, delimiter=mark, quoting=csv.QUOTE_NONE)
    names: list[str] | None = None
    try:
        for cells in lines:
            if not any(cells):
                continue
            if names is None:
                names = cells if any(name in cells for name in FILE_FIELDS) else []
                if names:
                    continue
            if names:
                fields = dict(zip(names, cells, strict=False))
                yield _of_fields(fields, table, lines.line_num)
            elif len(cells) < 2:
                yield TableError("has one column: a file and its text are needed", lines.line_num)
            else:
                yield _row(table, lines.line_num, cells[0], cells[-1])
    except csv.Error as exc:
        raise TableError(str(exc), lines.line_num) from exc
