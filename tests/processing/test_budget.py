"""The budget of an image by the prompt and the image's size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.decoded import AudioClip, Image
from gemma4cli.options import SOFT_TOKEN_BUDGETS
from gemma4cli.processing.budget import auto_budget, image_budget

PHOTO = (3000, 4000)
IMAGE = Image(pixels=np.zeros((100, 100, 3), np.uint8), name="a.png")

PROMPTS = {
    "Describe this image.": 140,
    "Describe these images.": 140,
    "please describe the picture in one sentence": 140,
    "Write a caption for this photo.": 140,
    "Classify it: cat, dog or neither?": 140,
    "Describe this image in every detail.": 280,
    "Who is this?": 280,
    "Is there a dog?": 280,
    "What is on the table?": 280,
    "Already there?": 280,
    "Write a poem about it.": 280,
    "": 280,
    "What does the sign say?": 1120,
    "What do the large letters say?": 1120,
    "Read it.": 1120,
    "What is the title of this book?": 1120,
    "Describe the text.": 1120,
    "Classify this document.": 1120,
    "Was steht auf dem Schild?": 1120,
    "图中的文字是什么": 1120,
    "OCR": 1120,
    "Make a table of the amounts.": 1120,
}
SIZES = {
    (1, 1): 70,
    (100, 100): 70,
    (384, 384): 70,
    (480, 640): 140,
    (768, 768): 280,
    (1000, 1000): 560,
    (1600, 1200): 1120,
    PHOTO: 1120,
}


def test_the_prompt_decides_the_budget_of_a_large_image() -> None:
    assert {prompt: auto_budget(*PHOTO, prompt) for prompt in PROMPTS} == PROMPTS


def test_the_size_limits_the_budget() -> None:
    assert {size: auto_budget(*size, "Read it.") for size in SIZES} == SIZES


@given(
    height=st.integers(1, 20_000),
    width=st.integers(1, 20_000),
    prompt=st.text(max_size=80) | st.sampled_from(sorted(PROMPTS)),
)
def test_no_image_gets_a_larger_budget_than_its_pixels_or_its_prompt_need(
    height: int, width: int, prompt: str
) -> None:
    budget = auto_budget(height, width, prompt)
    needed = [b for b in SOFT_TOKEN_BUDGETS if b >= height * width / 48**2]
    assert budget == min([auto_budget(*PHOTO, prompt), *needed[:1]])


def test_only_images_get_a_budget_by_their_size() -> None:
    clip = AudioClip(samples=np.zeros(16_000, np.float32), name="a.wav")
    assert image_budget(IMAGE, "auto", "Read it.") == 70
    assert image_budget(clip, "auto", "Read it.") is None


@pytest.mark.parametrize("budget", [None, 560])
def test_a_given_budget_is_kept(budget: int | None) -> None:
    assert image_budget(IMAGE, budget, "Read it.") == budget
