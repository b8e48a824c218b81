"""DATA to samples: JSON Lines of conversations, or a folder of media with their texts.

Nothing is decoded here. Each faulty line and file becomes a Fault, and the others are read on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..bounded import read_bounded
from ..conversations.file import Conversation
from ..errors import MediaNotFoundError, TuningDataError
from ..media.kinds import CLIP_SUFFIXES, IMAGE_SUFFIXES, SOUND_SUFFIXES
from ..messages import Message, Source, content_of
from ..plain_text import decode_text
from ..prompts import DESCRIBE_IMAGE, transcription
from .lines import conversation_of, conversations_in
from .pieces import TimedRecording, timed_recording, transcript_of
from .samples import Fault, Sample, medium_sample, problem_of
from .tables import TableError, rows_of, tables_in

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


@dataclass(kw_only=True, slots=True)
class Samples:
    """What was found in DATA.

    Attributes:
        found: What is learned, or asked.
        held_out: What came as data for validation.
        timed: Recordings that become samples once it is known how much a model hears at once.
        faults: What is wrong.
    """

    found: list[Sample] = field(default_factory=list)
    held_out: list[Sample] = field(default_factory=list)
    timed: list[TimedRecording] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.found and not self.timed


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


def read_conversations(data: Sequence[object]) -> Samples:
    """The samples in conversations as lines of a file have them; paths from the working folder."""
    samples = Samples()
    for number, value in enumerate(data):
        _add_found(samples, conversation_of(value, f"example {number}", Path()), held_out=False)
    return samples


def _read_lines(file: Path, samples: Samples, *, held_out: bool) -> None:
    """A conversation on each line, as ``g4 chat --messages`` reads them from a file."""
    for each in conversations_in(file):
        _add_found(samples, each, held_out=held_out)


def _add_found(
    samples: Samples, found: tuple[str, Conversation] | Fault, *, held_out: bool
) -> None:
    if isinstance(found, Fault):
        samples.faults.append(found)
    else:
        origin, conversation = found
        _add(samples, Sample(origin=origin, conversation=conversation), held_out=held_out)


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
    if samples.is_empty and not samples.faults:
        raise TuningDataError(
            f"{folder}: has no pictures or recordings: give a file of JSON Lines, or a folder of "
            "media with a text file beside each"
        )


def _with_texts(folder: Path, prompts: Prompts, samples: Samples) -> Iterator[Sample]:
    match = _REPEATED.match(folder.name)
    repeats = max(1, int(match.group(1))) if match else 1
    for medium in _media_of(folder):
        timed = transcript_of(medium) if _kind_of(medium) == "sound" else None
        if timed is not None:
            found = timed_recording(medium, timed, prompts.sound, repeats)
            if isinstance(found, Fault):
                samples.faults.append(found)
            else:
                samples.timed.append(found)
            continue
        text = _text_of(medium)
        if isinstance(text, Fault):
            samples.faults.append(text)
        else:
            yield _medium(medium, text, prompts, repeats)


def media_in(folder: Path) -> Iterator[Path]:
    """The pictures and recordings of a folder and of those in it."""
    for root, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from _media_of(Path(root))


def _media_of(folder: Path) -> Iterator[Path]:
    for medium in sorted(folder.iterdir()):
        if not medium.name.startswith(".") and _kind_of(medium) is not None and medium.is_file():
            yield medium


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
    # A transcript of several lines, one for each segment, is said on one, as the prompt asks.
    answer = " ".join(text.split()) if _kind_of(medium) == "sound" else text.strip()
    return medium_sample(question_about(medium, prompts), answer, str(medium), repeats)


def question_about(medium: Path, prompts: Prompts) -> Message:
    """What is asked about a picture or a recording of a folder."""
    source = Source.of(medium)
    if _kind_of(medium) == "sound":
        return Message(role="user", content=content_of(prompts.sound, audio=[source]))
    return Message(role="user", content=content_of(prompts.image, images=[source]))


def _kind_of(medium: Path) -> str | None:
    suffix = medium.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "sound" if suffix in SOUND_SUFFIXES or suffix in CLIP_SUFFIXES else None
