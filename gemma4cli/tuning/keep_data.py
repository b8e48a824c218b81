"""What a model is to keep, to samples without answers: prompts, which it answers itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..conversations.file import Conversation
from ..errors import MediaNotFoundError, TuningDataError
from .data import Prompts, Samples, media_in, question_about
from .lines import conversation_of, conversations_in
from .samples import Fault, Sample, missing_media


def read_prompts(data: Path, prompts: Prompts) -> Samples:
    """The prompts in a file of conversations, or one about each medium of a folder.

    A conversation is cut off after its last question. Raises TuningDataError if nothing at all can
    be read.
    """
    if not os.path.lexists(data):
        raise MediaNotFoundError(str(data))
    samples = Samples()
    if not data.is_dir():
        _read_lines(data, samples)
    elif (data / "train.jsonl").is_file():
        _read_lines(data / "train.jsonl", samples)
    else:
        for medium in media_in(data):
            messages = (question_about(medium, prompts),)
            conversation = Conversation(messages=messages)
            samples.found.append(Sample(origin=str(medium), conversation=conversation))
    if not samples.found and not samples.faults:
        raise TuningDataError(f"{data}: has no prompts, pictures or recordings")
    return samples


def read_asked(data: Sequence[object]) -> Samples:
    """The prompts in conversations as lines of a file have them; paths from the working folder."""
    samples = Samples()
    for number, value in enumerate(data):
        _add(samples, conversation_of(value, f"prompt {number}", Path()))
    return samples


def _read_lines(file: Path, samples: Samples) -> None:
    for each in conversations_in(file):
        _add(samples, each)


def _add(samples: Samples, found: tuple[str, Conversation] | Fault) -> None:
    if isinstance(found, Fault):
        samples.faults.append(found)
        return
    origin, conversation = found
    messages = conversation.messages
    last = max((n for n, m in enumerate(messages) if m.role in ("user", "tool")), default=-1)
    problem = "asks nothing: it needs a message of the user"
    if last >= 0:
        conversation = replace(conversation, messages=messages[: last + 1])
        problem = missing_media(conversation.messages) or ""
    if problem:
        samples.faults.append(Fault(origin=origin, problem=problem))
    else:
        samples.found.append(Sample(origin=origin, conversation=conversation))
