"""How answers are scored."""

from __future__ import annotations

import pytest

from training.evaluation.__main__ import markdown
from training.evaluation.cases import Case, Row, Score

GROUPS = "One red star and two blue circles."
PLACED = "A red star at the top, an orange square on the left and a blue circle in the center."
MIXED, TURNED = "one red star and two blue stars", "two blue stars and one red star"
COMPARED = (
    "The first image shows a red star. The second image shows one red star and two blue stars."
)
VIDEO = (
    "At 00:00 one red star and two blue stars. At 00:03 a red star. A voice says: bread and milk."
)


def scored(asked: str, answer: str, score: Score = "exact") -> Row:
    row = Row()
    row.add(Case(row="", prompt="", answer=asked, score=score), answer)
    return row


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (GROUPS, "Two blue circles and one red star."),
        (
            PLACED,
            "A blue circle in the center, a red star at the top and an orange square on the left.",
        ),
        (COMPARED, COMPARED.replace(MIXED, TURNED)),
        (VIDEO, VIDEO.replace(MIXED, TURNED)),
    ],
)
def test_things_may_be_told_in_any_order(asked: str, answer: str) -> None:
    assert scored(asked, asked) == Row(wrong=0, total=1, whole=1, verbatim=1, cases=1)
    assert scored(asked, answer) == Row(wrong=0, total=1, whole=1, verbatim=0, cases=1)
    assert scored(asked, answer, "sentences").wrong == 0


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (GROUPS, "Two red stars and one blue circle."),
        (GROUPS, "One red star."),
        (GROUPS, "One red star and two blue circles and two blue circles."),
        (PLACED, PLACED.replace("top", "bottom")),
        (PLACED, PLACED.replace("at the top", "here").replace("on the left", "at the top")),
        (COMPARED, COMPARED.replace("first", "third")),
        (VIDEO, VIDEO.replace("00:03", "00:04")),
        (VIDEO, VIDEO.replace("bread and milk", "milk and bread")),
        ("The word CAT.", "The word ACT."),
    ],
)
def test_anything_else_that_differs_is_wrong(asked: str, answer: str) -> None:
    assert scored(asked, answer).whole == 0
    assert scored(asked, answer, "sentences").wrong > 0


@pytest.mark.parametrize("answer", ["The word CAT", "The word CAT. ", "The word CAT.."])
def test_a_full_stop_is_part_of_an_answer(answer: str) -> None:
    assert scored("The word CAT.", answer).whole == 0


def test_words_are_counted() -> None:
    row = scored("two blue stars", "two stars", "words")
    assert (row.wrong, row.total, row.whole) == (1, 3, 0)


def test_the_table_has_a_line_for_each_row() -> None:
    rows = {"two groups": Row(wrong=1, total=4, whole=3, verbatim=2, cases=4)}
    assert markdown(rows).splitlines()[2:] == ["| two groups | 3 | 4 | 2 | 1 of 4 (25.0%) |"]
