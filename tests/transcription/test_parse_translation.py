"""The two-line answer of the translation prompt."""

from __future__ import annotations

import pytest

from gemma4cli.transcription.parse_translation import parted


@pytest.mark.parametrize(
    ("answer", "transcript", "translation"),
    [
        ("guten tag\nEnglish: good day", "guten tag", "good day"),
        ("guten tag\n\n  english :  good\nday \n", "guten tag", "good day"),
        ("English: one\nEnglish: two", "English: one", "two"),
        ("guten tag", "guten tag", None),
        ("guten tag. English: no line of its own", "guten tag. English: no line of its own", None),
        ("", "", None),
        ("\nEnglish:", "", ""),
        ("eins\nzwei\nEnglish: one two", "eins zwei", "one two"),
    ],
)
def test_answers_are_parted(answer: str, transcript: str, translation: str | None) -> None:
    assert parted(answer, "English") == (transcript, translation)


def test_a_target_is_no_pattern() -> None:
    assert parted("hola\nSpanish (Chile): hola po", "Spanish (Chile)") == ("hola", "hola po")
