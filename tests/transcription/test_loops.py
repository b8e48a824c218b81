"""Text that repeats itself is cut back."""

from __future__ import annotations

import pytest

from gemma4cli.transcription.loops import without_loop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("the cat sat", "the cat sat"),
        ("no no", "no no"),
        ("so we we we we", "so we"),
        ("a red ball a red ball a red ball", "a red ball"),
        ("see a red ball a red ball a red ball a red", "see a red ball"),
        ("7 7 7 and 8", "7 7 7 and 8"),
        ("one two one two one two one", "one two"),
    ],
)
def test_a_loop_is_said_once(text: str, expected: str) -> None:
    assert without_loop(text) == expected


def test_a_long_loop_is_found() -> None:
    words = [f"w{n}" for n in range(40)]
    assert without_loop(" ".join(["before", *words * 3, *words[:7]])) == " ".join(
        ["before", *words]
    )
