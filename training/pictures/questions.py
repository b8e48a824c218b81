"""Short questions about a picture that have one right answer each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from ..choosing import one
from ..words.sentence import spoken_words
from .captions import NUMBERS, article, kind_of_text, sentence
from .colors import OBJECT_COLORS
from .description import CELLS, SHAPES, Picture, Thing

DESCRIBE_AND_TRANSCRIBE = "Describe the image, then transcribe the speech."
"""What is asked of a picture with a clip that is no question."""

QuestionKind = Literal["color", "shape", "where", "how many", "is there", "reading", "plain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """``things`` are those of the picture that the answer tells of."""

    text: str
    answer: str
    kind: QuestionKind
    things: tuple[Thing, ...] = ()

    @property
    def spoken(self) -> str | None:
        """The question as a transcript of speech has it; None where a word is unheard of."""
        said = self.text.lower().rstrip("?.")
        return said if _heard_of().issuperset(said.split()) else None


_Maker = Callable[[Picture, np.random.Generator], Question]


def questions(picture: Picture, rng: np.random.Generator, count: int) -> list[Question]:
    """``count`` different random questions, fewer where there is not so much to ask."""
    makers = _makers(picture)
    chosen = rng.permutation(len(makers))[:count]
    made = [makers[int(i)](picture, rng) for i in chosen]
    return list({question.text: question for question in made}.values())


@cache
def _heard_of() -> frozenset[str]:
    """The words that the audio tower knows."""
    return frozenset(spoken_words("en"))


def _makers(picture: Picture) -> list[_Maker]:
    if picture.plain is not None:
        return [_plain]
    if picture.lettering:
        return [_reading]
    makers: list[_Maker] = [_how_many, _how_many, _how_many_objects, _is_there, _is_there]
    colors = {thing.color for thing in picture.things}
    shapes = {thing.shape for thing in picture.things}
    if picture.is_placed():
        makers += [_where, _where]
    if len(picture.groups()) == 1 or len(shapes) > 1:
        makers += [_color]
    if len(picture.groups()) == 1 or len(colors) > 1:
        makers += [_shape]
    return makers


def _plain(picture: Picture, rng: np.random.Generator) -> Question:
    asked = ("What color is this picture?", "What color is the picture?", "Which color is this?")
    return Question(text=one(rng, asked), answer=sentence(str(picture.plain)), kind="plain")


def _reading(picture: Picture, rng: np.random.Generator) -> Question:
    text = picture.lettering[0].text
    kind = kind_of_text(text)
    asked = (
        "What does it say?",
        "What does the picture say?",
        "What is written here?",
        f"What is the {kind}?",
        f"Read the {kind}.",
        "Read the text.",
    )
    return Question(text=one(rng, asked), answer=text, kind="reading")


def _named(picture: Picture, thing: Thing, rng: np.random.Generator) -> str:
    """A thing that is the only one of its look: by colour and shape, or by shape if that does."""
    alone = [other.shape for other in picture.things].count(thing.shape) == 1
    return thing.shape if alone and rng.random() < 0.4 else f"{thing.color} {thing.shape}"


def _where(picture: Picture, rng: np.random.Generator) -> Question:
    thing = one(rng, picture.things)
    return Question(
        text=f"Where is the {_named(picture, thing, rng)}?",
        answer=sentence(CELLS[picture.cell(thing)]),
        kind="where",
        things=(thing,),
    )


def _color(picture: Picture, rng: np.random.Generator) -> Question:
    """Of a shape that has one colour."""
    colors: dict[str, set[str]] = {}
    for color, shape in picture.groups():
        colors.setdefault(shape, set()).add(color)
    known = [(shape, found) for shape, found in colors.items() if len(found) == 1]
    if not known:
        return _how_many(picture, rng)
    shape, (color,) = one(rng, known)
    things = tuple(thing for thing in picture.things if thing.shape == shape)
    asked = (
        (f"What color are the {shape}s?", f"Which color do the {shape}s have?")
        if len(things) > 1
        else (f"What color is the {shape}?", f"Which color does the {shape} have?")
    )
    return Question(text=one(rng, asked), answer=sentence(color), kind="color", things=things)


def _shape(picture: Picture, rng: np.random.Generator) -> Question:
    """Of the only thing of a colour, or of several equal ones."""
    shapes: dict[str, set[str]] = {}
    for color, shape in picture.groups():
        shapes.setdefault(color, set()).add(shape)
    known = [(color, found) for color, found in shapes.items() if len(found) == 1]
    if not known:
        return _how_many(picture, rng)
    color, (shape,) = one(rng, known)
    things = tuple(thing for thing in picture.things if thing.color == color)
    if len(things) > 1:
        text, answer = f"What shapes are {color}?", f"{shape}s"
    else:
        asked = (f"What shape is {color}?", f"Which shape is {color}?", f"What is {color}?")
        text, answer = one(rng, asked), f"{article(shape)} {shape}"
    return Question(text=text, answer=sentence(answer), kind="shape", things=things)


def _how_many(picture: Picture, rng: np.random.Generator) -> Question:
    """Of a look, a shape or a colour; one time in six of a look that is absent."""
    present = list(picture.groups())
    color, shape = one(rng, present)
    if rng.random() < 1 / 6:
        color, shape = _absent(picture, rng)
    asked = rng.random()
    if asked < 0.6:
        what = f"{color} {shape}s"
        things = picture.of_look((color, shape))
    elif asked < 0.85:
        what = f"{shape}s"
        things = tuple(thing for thing in picture.things if thing.shape == shape)
    else:
        what = f"{color} objects"
        things = tuple(thing for thing in picture.things if thing.color == color)
    wordings = (f"How many {what} are there?", f"How many {what} do you see?")
    return Question(
        text=one(rng, wordings),
        answer=f"{NUMBERS[len(things)]}.",
        kind="how many",
        things=things,
    )


def _how_many_objects(picture: Picture, rng: np.random.Generator) -> Question:
    asked = ("How many objects are there?", "How many objects do you see?")
    return Question(
        text=one(rng, asked),
        answer=f"{NUMBERS[len(picture.things)]}.",
        kind="how many",
        things=picture.things,
    )


def _is_there(picture: Picture, rng: np.random.Generator) -> Question:
    """Yes and no are equally likely."""
    is_there = rng.random() < 0.5
    color, shape = one(rng, list(picture.groups())) if is_there else _absent(picture, rng)
    what = f"{article(color)} {color} {shape}"
    asked = (f"Is there {what}?", f"Do you see {what}?", f"Is there {what} in the picture?")
    return Question(
        text=one(rng, asked),
        answer="Yes." if is_there else "No.",
        kind="is there",
        things=picture.of_look((color, shape)),
    )


def _absent(picture: Picture, rng: np.random.Generator) -> tuple[str, str]:
    """A look that the picture has not, often one that shares a colour or a shape with it."""
    present = list(picture.groups())
    while True:
        color, shape = one(rng, OBJECT_COLORS), one(rng, SHAPES)
        like = rng.random()
        if like < 0.35:
            color = one(rng, present)[0]
        elif like < 0.7:
            shape = one(rng, present)[1]
        if (color, shape) not in present:
            return color, shape
