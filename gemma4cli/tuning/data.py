"""DATA to samples: JSON Lines of conversations, or a folder of media with their texts.

Nothing is decoded here. Each faulty line and file becomes a Fault, and the others are read on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bounded import read_bounded
from ..checked_json import JsonError, parse
from ..conversations.file import parse_conversation
from ..errors import ConversationError, MediaNotFoundError, TuningDataError
from ..media.kinds import CLIP_SUFFIXES, IMAGE_SUFFIXES, SOUND_SUFFIXES
from ..plain_text import decode_text
from ..prompts import DESCRIBE_IMAGE, transcription
from .samples import Fault, Sample, Samples, medium_sample, problem_of
from .tables import TableError, rows_of, tables_in

_LARGEST = 1 << 30
"""Bytes of a file of conversations: all of it is in memory once."""
_TEXT_SUFFIXES = (".txt", ".caption", ".lab")
"""Files beside a medium that hold its text, the first that is there."""
_REPEATED = re.compile(r"(\d{1,3})_.")
"""A folder whose files are seen so often in a round, as kohya's tools have it."""
_PARTS = {"train.jsonl": False, "valid.jsonl": True}
"""mlx-lm's files in a folder of data, and whether they are held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """What is asked about media in folders."""

    image: str = DESCRIBE_IMAGE
    sound: str = transcription()


def read_data(data: Path, prompts: Prompts) -> Samples:
    """The samples in a file of conversations, or in a folder.

    Raises TuningDataError if nothing at all can be read.
    """
    if not os.path.lexists(data):
        raise MediaNotFoundError(str(data))
    samples = Samples()
    if not data.is_dir():
        _read_lines(data, samples, held_out=False)
    elif (data / "train.jsonl").is_file():
        for name, held_out in _PARTS.items():
            if (data / name).is_file():
                _read_lines(data / name, samples, held_out=held_out)
    else:
        _read_folder(data, prompts, samples)
    return samples


def _read_lines(file: Path, samples: Samples, *, held_out: bool) -> None:
    """A conversation on each line, as ``g4 chat --messages`` reads them from a file."""
    try:
        found = decode_text(read_bounded(file, _LARGEST))
    except OSError as exc:
        raise TuningDataError(f"{file}: cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise TuningDataError(
            f"{file}: is not UTF-8 text: give a file of JSON Lines, or a folder of media"
        )
    for number, line in enumerate(found.text.split("\n"), start=1):
        if not line.strip():
            continue
        origin = f"{file}:{number}"
        try:
            conversation = parse_conversation(
                _messages_of(parse(line)), folder=file.parent, name=origin
            )
        except JsonError as exc:
            samples.faults.append(Fault(origin=origin, problem=str(exc)))
        except ConversationError as exc:
            problem = str(exc).removeprefix(f"{origin}: ")
            samples.faults.append(Fault(origin=origin, problem=problem))
        else:
            _add(samples, Sample(origin=origin, conversation=conversation), held_out=held_out)


def _messages_of(data: object) -> object:
    """A line as a conversation file has it; mlx-lm's prompt and completion become messages."""
    if isinstance(data, Mapping) and "messages" not in data:
        if {"prompt", "completion"} <= data.keys():
            said = (("user", data["prompt"]), ("assistant", data["completion"]))
            return {"messages": [{"role": role, "content": text} for role, text in said]}
        if "text" in data:
            raise JsonError(
                'has "text", in which no answer can be told from a question: write "messages"'
            )
    return data


def _add(samples: Samples, sample: Sample, *, held_out: bool = False) -> None:
    problem = problem_of(sample.conversation.messages)
    if problem is not None:
        samples.faults.append(Fault(origin=sample.origin, problem=problem))
    else:
        (samples.held_out if held_out else samples.found).append(sample)


def _read_folder(folder: Path, prompts: Prompts, samples: Samples) -> None:
    """Media with texts beside them, or in tables; a folder with tables has no others."""
    closed: list[OSError] = []
    for root, inner, _ in os.walk(folder, onerror=closed.append):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        tables = tables_in(Path(root))
        if tables:
            inner.clear()
            for table in tables:
                _read_table(table, prompts, samples)
        else:
            for sample in _with_texts(Path(root), prompts, samples):
                _add(samples, sample)
    for each in closed:
        origin = str(each.filename or folder)
        samples.faults.append(Fault(origin=origin, problem=f"cannot be read ({each.strerror})"))
    if not samples.found and not samples.faults:
        raise TuningDataError(
            f"{folder}: has no pictures or recordings: give a file of JSON Lines, or a folder of "
            "media with a text file beside each"
        )


def _with_texts(folder: Path, prompts: Prompts, samples: Samples) -> Iterator[Sample]:
    match = _REPEATED.match(folder.name)
    repeats = max(1, int(match.group(1))) if match else 1
    for medium in sorted(folder.iterdir()):
        if medium.name.startswith(".") or _kind_of(medium) is None or not medium.is_file():
            continue
        text = _text_of(medium)
        if isinstance(text, Fault):
            samples.faults.append(text)
        else:
            yield _medium(medium, text, prompts, repeats)


def _text_of(medium: Path) -> str | Fault:
    """The text beside a medium."""
    beside = [medium.with_suffix(suffix) for suffix in _TEXT_SUFFIXES]
    beside += [medium.with_name(medium.name + suffix) for suffix in _TEXT_SUFFIXES]
    file = next((each for each in beside if each.is_file()), None)
    if file is None:
        return Fault(origin=str(medium), problem=f"has no text: {beside[0].name} is not beside it")
    try:
        found = decode_text(read_bounded(file))
    except OSError as exc:
        return Fault(origin=str(file), problem=f"cannot be read ({exc.strerror or exc})")
    if found is None or found.notice is not None:
        return Fault(origin=str(file), problem="is not UTF-8 text")
    if not found.text.strip():
        return Fault(origin=str(file), problem="is empty")
    return found.text


def _read_table(table: Path, prompts: Prompts, samples: Samples) -> None:
    try:
        for row in rows_of(table):
            if isinstance(row, TableError):
                origin = str(table) if row.line is None else f"{table}:{row.line}"
                samples.faults.append(Fault(origin=origin, problem=str(row)))
                continue
            origin = f"{table}:{row.line}"
            problem = None
            if row.medium is None:
                problem = f"{row.file}: no such file"
            elif _kind_of(row.medium) is None:
                problem = f"{row.file}: is neither a picture nor a recording, by its name"
            elif not row.text:
                problem = f"{row.file}: has an empty text"
            if problem is not None or row.medium is None:
                samples.faults.append(Fault(origin=origin, problem=problem or ""))
                continue
            _add(samples, _medium(row.medium, row.text, prompts, 1))
    except TableError as exc:
        samples.faults.append(Fault(origin=str(table), problem=str(exc)))


def _medium(medium: Path, text: str, prompts: Prompts, repeats: int) -> Sample:
    sound = _kind_of(medium) == "sound"
    # A transcript of several lines, one for each segment, is said on one, as the prompt asks.
    answer = " ".join(text.split()) if sound else text.strip()
    prompt = prompts.sound if sound else prompts.image
    return medium_sample(medium, answer, prompt, sound=sound, repeats=repeats)


def _kind_of(medium: Path) -> str | None:
    suffix = medium.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "sound" if suffix in SOUND_SUFFIXES or suffix in CLIP_SUFFIXES else None
