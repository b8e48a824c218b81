"""Prompts with a picture and a clip."""

from __future__ import annotations

import numpy as np
import pytest

from gemma4cli.decoded import AudioClip, Image
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.model import LoadedModel
from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart
from gemma4cli.options import GenerateOptions
from gemma4cli.wire.requests import PromptLimits


@pytest.fixture(scope="session")
def prompt(tiny: LoadedModel) -> Prompt:
    """A question about a picture and a clip, with options that are no defaults."""
    source = Source(name="medium")
    parts = (ImagePart(source=source), TextPart(text="Which?"), AudioPart(source=source))
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (90, 120, 3), np.uint8)
    sound = random.standard_normal(16000, np.float32) / 10
    inputs = tiny.processor.prepare(
        [Message(role="user", content=parts)],
        [Image(pixels=picture, name="a"), AudioClip(samples=sound, name="b")],
    )
    options = GenerateOptions(
        max_tokens=7, temperature=0.1, top_p=0.3, top_k=5, seed=2**64 - 1, prefill_step_size=3
    )
    return Prompt(inputs=inputs, options=options)


@pytest.fixture(scope="session")
def limits(tiny: LoadedModel) -> PromptLimits:
    return PromptLimits(
        processor=tiny.processor, vocabulary=tiny.tokenizer.rows, context=tiny.context_length
    )
