"""Drawn pictures: what is said about them follows from what is in them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from training.pictures.captions import caption
from training.pictures.compare import comparison, described
from training.pictures.description import (
    KINDS,
    Kind,
    Lettering,
    Picture,
    Thing,
    from_json,
    to_json,
)
from training.pictures.drawing import drawn
from training.pictures.labels import CLASSES, IGNORED, labels
from training.pictures.lettering import BUILT_IN, CHARACTERS, character_centers
from training.pictures.questions import questions
from training.pictures.scenes import picture
from training.seeds import generator

EVERY_KIND: tuple[Kind, ...] = (*KINDS, "dense", "page")
WHITE = (255, 255, 255)


def thing(color: str, shape: str, x: float, y: float) -> Thing:
    return Thing(shape=shape, color=color, rgb=(200, 0, 0), x=x, y=y, size=60.0, angle=0.0)


def scene(*things: Thing) -> Picture:
    return Picture(kind="objects", height=384, width=384, ground=WHITE, things=things)


def written(text: str) -> Picture:
    line = Lettering(
        text=text,
        font=BUILT_IN,
        size=60,
        tracking=0.0,
        angle=0.0,
        rgb=(0, 0, 0),
        x=192.0,
        y=216.0,
    )
    return Picture(kind="text", height=384, width=384, ground=WHITE, lettering=(line,))


PLACED = scene(thing("blue", "star", 192, 192), thing("orange", "circle", 50, 50))
COUNTED = scene(
    thing("blue", "square", 50, 50),
    thing("red", "circle", 50, 192),
    thing("blue", "square", 300, 300),
)


def test_different_things_are_placed_in_reading_order() -> None:
    assert caption(PLACED) == "An orange circle at the top left and a blue star in the center."


def test_equal_things_are_counted_in_the_order_of_their_colours() -> None:
    assert caption(COUNTED) == "One red circle and two blue squares."


def test_lettering_and_plain_pictures_are_named() -> None:
    plain = Picture(kind="plain", height=96, width=96, ground=(200, 0, 0), plain="red")
    assert caption(written("HELLO")) == "The word HELLO."
    assert caption(written("4071")) == "The number 4071."
    assert caption(plain) == "A plain red picture."


def test_two_pictures_are_described_one_after_the_other() -> None:
    assert described(COUNTED, PLACED) == (
        "The first image shows one red circle and two blue squares. The second image shows "
        "an orange circle at the top left and a blue star in the center."
    )


def test_pictures_with_one_caption_are_the_same() -> None:
    moved = replace(COUNTED, things=COUNTED.things[::-1])
    answers = {
        answer
        for number in range(60)
        for question, answer in [comparison(COUNTED, moved, generator("compare", number))]
        if "same" in question
    }
    assert answers == {"Yes."}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_picture_follows_from_its_seed_and_survives_json(kind: Kind) -> None:
    first, second = (picture(generator("picture", kind), kind) for _ in range(2))
    assert first == second == from_json(json.loads(json.dumps(to_json(first))))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_drawing_gives_rgb_of_the_size_described(kind: Kind) -> None:
    shown = picture(generator("drawing", kind), kind)
    pixels = drawn(shown, generator("noise"))
    assert pixels.shape == (shown.height, shown.width, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["objects", "count", "groups"])
def test_things_are_inside_of_the_picture_and_apart(kind: Kind) -> None:
    for number in range(50):
        shown = picture(generator("apart", kind, number), kind)
        for index, one in enumerate(shown.things):
            assert one.size / 2 <= one.x <= shown.width - one.size / 2
            assert one.size / 2 <= one.y <= shown.height - one.size / 2
            for other in shown.things[:index]:
                distance = np.hypot(one.x - other.x, one.y - other.y)
                assert distance > (one.size + other.size) / 2


def test_kinds_keep_their_promise_about_captions() -> None:
    for number in range(50):
        rng = generator("kinds", number)
        assert picture(rng, "objects").is_placed()
        assert len(picture(rng, "count").groups()) == 1
        groups = picture(rng, "groups").groups()
        assert len(groups) == 2
        assert 3 <= sum(groups.values()) <= 7


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_right(kind: Kind) -> None:
    for number in range(60):
        rng = generator("questions", kind, number)
        shown = picture(rng, kind)
        asked = questions(shown, rng, 4)
        assert asked
        for question in asked:
            if question.kind == "is there":
                named = any(f" {color} {shape}" in question.text for color, shape in shown.groups())
                assert question.answer == ("Yes." if named else "No.")
            if question.kind == "reading":
                assert question.answer == shown.lettering[0].text
            if question.kind in {"where", "color", "shape"}:
                words = question.answer.rstrip(".").lower().removeprefix("a ").rstrip("s")
                assert words in caption(shown).lower()


def test_a_token_knows_the_thing_whose_centre_it_holds() -> None:
    known = labels(COUNTED, (8, 8))
    at = (6, 6)
    assert known["center"][at] == 1
    assert known["center"].sum() == 3
    assert known["count"][at] == 2 - 1
    assert known["order"][at] == 1
    assert (known["row"][at], known["column"][at]) == (2, 2)
    assert known["shape"][0, 7] == 0
    assert known["count"][0, 7] == IGNORED


def test_a_token_knows_the_characters_whose_centres_it_holds() -> None:
    shown = written("HELLO")
    known = labels(shown, (8, 8))
    row = 4
    found = [CHARACTERS[code - 1] for code in known["first"][row] if code]
    second = [CHARACTERS[code - 1] for code in known["second"][row] if code]
    assert sorted(found + second) == sorted("HELLO")
    assert set(known["length"][row][known["first"][row] > 0]) == {5 - 1}
    assert (np.delete(known["first"], row, axis=0) == 0).all()


def test_a_turned_line_rises_to_the_right() -> None:
    line = replace(written("HELLO").lettering[0], angle=3.0)
    centers = character_centers(line)
    assert centers[0][1] > centers[-1][1]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_labels_are_classes_or_ignored(kind: Kind) -> None:
    known = labels(picture(generator("labels", kind), kind), (5, 9))
    assert set(known) == set(CLASSES)
    for name, values in known.items():
        assert values.shape == (5, 9)
        assert ((values == IGNORED) | ((values >= 0) & (values < CLASSES[name]))).all()
