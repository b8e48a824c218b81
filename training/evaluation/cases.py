"""One question to the model, the right answer, and how answers are scored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import gemma4cli
from gemma4cli import Chat, MediaOptions
from gemma4cli.api import content_of
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import TextDelta

from ..pictures.captions import NUMBERS
from ..pictures.colors import OBJECT_COLORS
from ..pictures.description import SHAPES
from ..word_errors import word_errors

Score = Literal["exact", "words", "sentences"]

_THING = re.compile(
    "(?:^|, | and | )"
    f"(?=(?:an?|{'|'.join(NUMBERS)}) (?:{'|'.join(OBJECT_COLORS)}) (?:{'|'.join(SHAPES)}))",
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
    """``wrong`` of ``total`` words, events or answers; ``whole`` answers right of ``cases``.

    ``verbatim`` are those of the right ones that also tell of things in the order of the captions
    that were practised.
    """

    wrong: int = 0
    total: int = 0
    whole: int = 0
    verbatim: int = 0
    cases: int = 0

    def add(self, case: Case, answer: str) -> None:
        wrong, total = mistakes(case, answer)
        self.wrong += wrong
        self.total += total
        self.whole += is_right(case, answer)
        self.verbatim += answer == case.answer
        self.cases += 1


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
        return word_errors(answer.split(), case.answer.split()), len(case.answer.split())
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


def table(model: LoadedModel, cases: Iterable[Case], *, shown: int) -> dict[str, Row]:
    """The rows of all cases; the first ``shown`` mistakes of each are printed."""
    rows: dict[str, Row] = {}
    for case in cases:
        answer = answer_of(model, case)
        row = rows.setdefault(case.row, Row())
        if not is_right(case, answer) and row.cases - row.whole < shown:
            print(f"  {case.row}: {case.answer!r} but {answer!r}", flush=True)
        row.add(case, answer)
    return rows
