"""One caption for a picture: the same picture always has the same one."""

from __future__ import annotations

from .description import CELLS, Picture, Thing

NUMBERS = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def caption(picture: Picture) -> str:
    """A whole sentence, such as "A red circle at the top left and a blue star in the center."."""
    return sentence(phrase(picture))


def phrase(picture: Picture) -> str:
    """The caption inside of a sentence: "three red circles"."""
    if picture.plain is not None:
        return f"a plain {picture.plain} picture"
    if picture.lettering:
        text = picture.lettering[0].text
        return f"the {kind_of_text(text)} {text}"
    return listed([text for text, _ in parts(picture)])


def parts(picture: Picture) -> list[tuple[str, tuple[Thing, ...]]]:
    """What a caption lists, and the things that each part of it tells of."""
    if picture.is_placed():
        return [
            (
                f"{article(thing.color)} {thing.color} {thing.shape} {CELLS[picture.cell(thing)]}",
                (thing,),
            )
            for thing in picture.in_reading_order()
        ]
    return [
        (counted(count, *look), picture.of_look(look)) for look, count in picture.groups().items()
    ]


def counted(count: int, color: str, shape: str) -> str:
    """(3, "red", "circle") -> "three red circles"."""
    return f"{NUMBERS[count].lower()} {color} {shape}{'' if count == 1 else 's'}"


def kind_of_text(text: str) -> str:
    return "number" if text.isdigit() else "word"


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def listed(texts: list[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
