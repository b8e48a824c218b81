"""The prompts that g4 sends when the user gives none, in the model card's wording and order.

Source: the Gemma 4 model card (speech recognition and translation) and the Gemma cookbook's audio
guide (language unknown); the wording for a video in parts is g4's own. Knows nothing else.
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

    ``names`` are words that may be said; the card has no wording for them.
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
    """The speech translation prompt, to ``target``; both are English names such as "French".

    The answer has two lines: the transcription, then "French: " and the translation. Where the
    spoken ``language`` is not known, the wording of ``transcription`` stands in for its name.
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
    """A stretch of a clip as it is written above its answer, minutes without end. [00:30-01:00]."""
    return f"[{minutes_label(start)}-{minutes_label(end)}]"


def summary(answers: Sequence[tuple[float, float, str]], question: str | None = None) -> str:
    """Asks about a whole video for which each part was answered by itself: start, end, answer.

    ``question`` is what was asked of each; None where it was to describe the video.
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
