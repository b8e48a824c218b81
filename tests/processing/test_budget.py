"""The budget that a task and an image's size ask for."""

from __future__ import annotations

import numpy as np
import pytest

from gemma4cli.decoded import AudioClip, Image
from gemma4cli.processing.budget import auto_budget, image_budget

PHOTO = (3000, 4000)


@pytest.mark.parametrize(
    ("prompt", "budget"),
    [
        ("Describe this image.", 140),
        ("Describe these images.", 140),
        ("please describe the picture in one sentence", 140),
        ("Write a caption for this photo.", 140),
        ("Classify it: cat, dog or neither?", 140),
        ("Describe this image in every detail.", 280),
        ("Who is this?", 280),
        ("Is there a dog?", 280),
        ("What is on the table?", 280),
        ("Already there?", 280),
        ("Write a poem about it.", 280),
        ("", 280),
        ("What does the sign say?", 1120),
        ("What do the large letters say?", 1120),
        ("Read it.", 1120),
        ("What is the title of this book?", 1120),
        ("Describe the text.", 1120),
        ("Classify this document.", 1120),
        ("Was steht auf dem Schild?", 1120),
        ("图中的文字是什么", 1120),
        ("OCR", 1120),
        ("Make a table of the amounts.", 1120),
    ],
)
def test_by_task(prompt: str, budget: int) -> None:
    assert auto_budget(*PHOTO, prompt) == budget


@pytest.mark.parametrize(
    ("size", "budget"),
    [
        ((1, 1), 70),
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
    assert auto_budget(*size, "Read it.") == budget


def test_only_images_have_one_by_their_size() -> None:
    image = Image(pixels=np.zeros((100, 100, 3), np.uint8), name="a.png")
    clip = AudioClip(samples=np.zeros(16_000, np.float32), name="a.wav")
    assert image_budget(image, "auto", "Read it.") == 70
    assert image_budget(clip, "auto", "Read it.") is None


@pytest.mark.parametrize("budget", [None, 560])
def test_what_was_asked_for_holds(budget: int | None) -> None:
    image = Image(pixels=np.zeros((100, 100, 3), np.uint8), name="a.png")
    assert image_budget(image, budget, "Read it.") == budget
