"""The two-line answer to the translation prompt."""

from __future__ import annotations

from gemma4cli.transcription.parse_translation import split_translation

ANSWERS = {
    "guten tag\nEnglish: good day": ("guten tag", "good day"),
    "guten tag\n\n  english :  good\nday \n": ("guten tag", "good day"),
    "English: one\nEnglish: two": ("English: one", "two"),
    "guten tag": ("guten tag", None),
    "guten tag. English: on the same line": ("guten tag. English: on the same line", None),
    "": ("", None),
    "\nEnglish:": ("", ""),
    "eins\nzwei\nEnglish: one two": ("eins zwei", "one two"),
}


def test_an_answer_is_split_before_the_last_line_that_names_the_target() -> None:
    assert {answer: split_translation(answer, "English") for answer in ANSWERS} == ANSWERS


def test_a_target_is_not_a_regular_expression() -> None:
    answer = "hola\nSpanish (Chile): hola po"
    assert split_translation(answer, "Spanish (Chile)") == ("hola", "hola po")
