"""The prompts that g4 sends when the user gives none, in the model card's wording and order.

Source: the Gemma 4 model card (speech recognition and translation) and the Gemma cookbook's audio
guide (unknown language); the wording for a video in segments is g4's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from .times import minutes_label

DESCRIBE_IMAGE = "Describe this image."
DESCRIBE_IMAGES = "Describe these images."
DESCRIBE_VIDEO = "Describe this video."

_FORMAT = (
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, "
    "and write 3 instead of three."
)


def transcription(language: str | None = None, names: str | None = None) -> str:
    """The speech recognition prompt; ``language`` is an English name such as "French".

    ``names`` are names and terms that may occur; the model card has no wording for them.
    """
    hint = _hint(names)
    if language is None:
        return f"Transcribe the following speech segment in its original language. {_FORMAT}{hint}"
    return (
        f"Transcribe the following speech segment in {language} into {language} text.\n"
        f"{_FORMAT}{hint}"
    )


def _hint(names: str | None) -> str:
    return f"\n* These names and terms may occur: {names}" if names else ""


def translation(language: str | None, target: str, names: str | None = None) -> str:
    """The speech translation prompt; ``language`` and ``target`` are English names ("French").

    The answer has two lines: the transcription, then "French: " and the translation. If the
    spoken ``language`` is None, the wording of ``transcription`` replaces its name.
    """
    spoken = language or "its original language"
    source = language or "the original language"
    return (
        f"Transcribe the following speech segment in {spoken}, then translate it into {target}.\n"
        f"When formatting the answer, first output the transcription in {source}, then one "
        f"newline, then output the string '{target}: ', then the translation in {target}."
        f"{_hint(names)}"
    )


def time_range(start: float, end: float) -> str:
    """The heading of a segment's answer, [00:30-01:00]; minutes may have more than two digits."""
    return f"[{minutes_label(start)}-{minutes_label(end)}]"


def summary(answers: Sequence[tuple[float, float, str]], question: str | None = None) -> str:
    """The prompt about a whole video, from the start, end and answer of each segment.

    ``question`` is the question about each segment; None if each was described.
    """
    parts = "\n\n".join(f"{time_range(start, end)}\n{text.strip()}" for start, end, text in answers)
    if question is None:
        return (
            "These are descriptions of the parts of one video, in order, each below its time "
            f"(minutes:seconds):\n\n{parts}\n\n"
            "Describe the whole video in one text, as if you had seen it in one piece."
        )
    return (
        "The parts of one video were looked at, in order, and the same question was answered for "
        f"each, below its time (minutes:seconds):\n\n{parts}\n\n"
        f"From these answers, answer the question for the whole video: {question}"
    )
