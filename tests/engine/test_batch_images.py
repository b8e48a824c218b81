"""Images of several prompts: those of one grid go through the tower together."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.decoded import Image
from gemma4cli.engine.batch import generate_batch
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import FeatureCache, LoadedModel
from gemma4cli.events import Finished
from gemma4cli.messages import ImagePart, Message, Source, TextPart
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

GREEDY = GenerateOptions(max_tokens=5, temperature=0)
SIZES = ((60, 60), (40, 120), (60, 60), (40, 120), (61, 61))


def fresh(model: LoadedModel) -> LoadedModel:
    return dataclasses.replace(model, soft_tokens=FeatureCache())


def seen(model: LoadedModel, number: int, budget: int = 70) -> ModelInputs:
    """A prompt with a picture of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZES[number], 3), np.uint8)
    source = Source(name="noise")
    parts = (ImagePart(source=source), TextPart(text="Describe this image."))
    message = Message(role="user", content=parts)
    return model.processor.prepare([message], [Image(pixels=pixels, name="noise")], budget=budget)


def test_one_grid_goes_together_wherever_it_stands(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(tiny)
    inputs = [seen(model, number) for number in range(5)]
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
        *_, alone = generate(fresh(tiny), each, GREEDY)
        assert isinstance(alone, Finished)
        assert answer.token_ids == alone.token_ids


def test_large_images_go_alone(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the batch."""
    model = fresh(tiny)
    inputs = [seen(model, number, budget=280) for number in (0, 2)]
    counts = []

    def spy(self: Gemma4, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        counts.append(len(patches))
        tokens = grid[0] * grid[1] // self.config.vision.pooling**2
        return mx.zeros((len(patches), tokens, self.config.text.hidden_size))

    monkeypatch.setattr(Gemma4, "encode_images", spy)
    generate_batch(model, inputs, GenerateOptions(max_tokens=1, temperature=0))
    assert counts == [1, 1]
