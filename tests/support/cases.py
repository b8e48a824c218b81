"""One question to the model, the right answer, and how answers are scored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import jiwer

import gemma4cli
from gemma4cli import Chat, MediaOptions
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import TextDelta
from gemma4cli.messages import content_of

Score = Literal["exact", "words", "sentences"]

_NUMBERS = "None|One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten"
_COLORS = "red|blue|green|yellow|orange|purple|black|pink"
_SHAPES = "circle|square|triangle|star"
_THING = re.compile(
    f"(?:^|, | and | )(?=(?:an?|{_NUMBERS}) (?:{_COLORS}) (?:{_SHAPES}))",
    re.IGNORECASE,
)
"""Before a thing that a caption lists, such as "a red circle at the top left"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A prompt with its media. ``row`` is the line of the table that it counts for.

    ``score``: "exact" asks for the whole answer, "words" counts wrong words, "sentences" counts
    the right sentences of an answer that has one for each event. ``before`` are questions that
    were asked first, in the turn with the media; the prompt is then a later turn.
    """

    row: str
    prompt: str
    answer: str
    score: Score = "exact"
    images: tuple[bytes, ...] = ()
    clips: tuple[bytes, ...] = ()
    videos: tuple[bytes, ...] = ()
    budget: int | None = None
    before: tuple[str, ...] = ()


@dataclass(slots=True)
class Row:
    """``wrong`` of ``total`` words, events or answers."""

    wrong: int = 0
    total: int = 0

    def add(self, case: Case, answer: str) -> None:
        wrong, total = mistakes(case, answer)
        self.wrong += wrong
        self.total += total


def answer_of(model: LoadedModel, case: Case) -> str:
    """What g4 prints."""
    media = MediaOptions(budget=case.budget)
    if not case.before:
        return gemma4cli.generate(
            model,
            case.prompt,
            images=case.images,
            audio=case.clips,
            videos=case.videos,
            media=media,
        )
    chat = Chat(model, media=media)
    content = content_of(case.before[0], images=case.images, audio=case.clips, videos=case.videos)
    for said in (content, *case.before[1:]):
        for _ in chat.send(said):
            pass
    events = chat.send(case.prompt)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def mistakes(case: Case, answer: str) -> tuple[int, int]:
    """Wrong and all words, events or answers of a case."""
    if case.score == "words":
        found = jiwer.process_words(case.answer, answer)
        wrong = found.substitutions + found.deletions + found.insertions
        return wrong, len(case.answer.split())
    if case.score == "sentences":
        said = {in_any_order(each) for each in sentences(answer)}
        asked = [in_any_order(each) for each in sentences(case.answer)]
        return sum(each not in said for each in asked), len(asked)
    return int(not is_right(case, answer)), 1


def is_right(case: Case, answer: str) -> bool:
    """Whether the answer says what the right one says, the things in a picture in any order."""
    return [in_any_order(each) for each in answer.split(". ")] == [
        in_any_order(each) for each in case.answer.split(". ")
    ]


def in_any_order(sentence: str) -> tuple[str, ...]:
    """What comes before the things that a caption lists, these sorted, and the full stop.

    "One red star and two blue stars" and "Two blue stars and one red star" are the same.
    """
    told = sentence.rstrip(" .")
    opening, *things = _THING.split(told)
    return (opening, *sorted(each[0].lower() + each[1:] for each in things), sentence[len(told) :])


def sentences(text: str) -> list[str]:
    return [part.strip(" .") for part in text.split(". ")]
