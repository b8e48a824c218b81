"""Images of several prompts that have the same grid go through the tower together."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from support.models import fresh

from gemma4cli.decoded import Image
from gemma4cli.engine.answering import generate_batch
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Finished
from gemma4cli.messages import ImagePart, Message, Source, TextPart
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

GREEDY = GenerateOptions(max_tokens=5, temperature=0)
SIZES = ((60, 60), (40, 120), (60, 60), (40, 120), (61, 61))


def image_prompt(model: LoadedModel, number: int, budget: int = 70) -> ModelInputs:
    """A prompt with an image of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZES[number], 3), np.uint8)
    source = Source(name="noise")
    parts = (ImagePart(source=source), TextPart(text="Describe this image."))
    message = Message(role="user", content=parts)
    return model.processor.prepare([message], [Image(pixels=pixels, name="noise")], budget=budget)


def test_images_of_one_grid_are_encoded_together_and_answered_as_alone(
    parity_model: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = [image_prompt(model, number) for number in range(5)]
    grids = [each.features[0].grid for each in inputs]  # type: ignore[union-attr]
    assert grids[0] == grids[2] == grids[4] != grids[1] == grids[3]
    encode, counts = Gemma4.encode_images, []

    def spy(self: Gemma4, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        counts.append((len(patches), grid))
        return encode(self, patches, grid)

    monkeypatch.setattr(Gemma4, "encode_images", spy)
    answers = generate_batch(model, inputs, GREEDY)
    assert counts == [(3, grids[0]), (2, grids[1])]
    for each, answer in zip(inputs, answers, strict=True):
        *_, alone = generate(fresh(model), each, GREEDY)
        assert isinstance(alone, Finished)
        assert answer.token_ids == alone.token_ids


def test_large_images_are_encoded_alone_so_memory_does_not_grow_with_the_batch(
    parity_model: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = [image_prompt(model, number, budget=280) for number in (0, 2)]
    counts = []

    def spy(self: Gemma4, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        counts.append(len(patches))
        tokens = grid[0] * grid[1] // self.config.vision.pooling**2
        return mx.zeros((len(patches), tokens, self.config.text.hidden_size))

    monkeypatch.setattr(Gemma4, "encode_images", spy)
    generate_batch(model, inputs, GenerateOptions(max_tokens=1, temperature=0))
    assert counts == [1, 1]
