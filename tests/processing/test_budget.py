"""The budget that a task and an image's size ask for."""

from __future__ import annotations

import pytest

from gemma4cli.processing.budget import auto_budget

PHOTO = (3000, 4000)


@pytest.mark.parametrize(
    ("prompt", "own_words", "budget"),
    [
        ("Describe this image.", False, 140),
        ("Describe this image.", True, 280),
        ("Who is this?", True, 280),
        ("Is there a dog?", True, 280),
        ("What does the sign say?", True, 1120),
        ("Read it.", True, 1120),
        ("Was steht auf dem Schild?", True, 1120),
        ("OCR", True, 1120),
        ("Make a table of the amounts.", True, 1120),
        ("Already there?", True, 280),
    ],
)
def test_by_task(prompt: str, own_words: bool, budget: int) -> None:
    assert auto_budget([PHOTO], prompt, own_words=own_words) == budget


@pytest.mark.parametrize(
    ("size", "budget"),
    [
        ((100, 100), 70),
        ((384, 384), 70),
        ((480, 640), 140),
        ((768, 768), 280),
        ((1000, 1000), 560),
        ((1600, 1200), 1120),
        (PHOTO, 1120),
    ],
)
def test_by_size(size: tuple[int, int], budget: int) -> None:
    assert auto_budget([size], "Read it.", own_words=True) == budget


def test_the_largest_image_decides() -> None:
    assert auto_budget([(100, 100), PHOTO], "Read it.", own_words=True) == 1120
    assert auto_budget([], "Read it.", own_words=True) == 70
