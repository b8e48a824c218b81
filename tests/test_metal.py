"""What only a Mac shows: logits, answers and memory where MLX computes on Metal.

The rest of the suite runs there as well; these are the few checks that say most, for a machine
whose time is short: ``pytest -m metal``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from support.goldens import golden_error, goldens

from gemma4cli.api import generate, load
from gemma4cli.engine.model import LoadedModel
from gemma4cli.machine import device as machine
from gemma4cli.options import GenerateOptions, LoadOptions

pytestmark = [
    pytest.mark.metal,
    pytest.mark.skipif(not mx.metal.is_available(), reason="MLX has no Metal here"),
]

ROOT = Path(__file__).parents[1]
SCENE = ROOT / "fixtures" / "scene.png"
CAPTION = "A red circle at the top left and a blue star at the bottom right."
QUESTION = "What can you do?"
LOGIT_TOLERANCE = 1e-3
"""Of the deviation of a case's logits, as in test_parity."""

ON_THE_CPU = f"""
import mlx.core as mx
mx.set_default_device(mx.cpu)
from gemma4cli import GenerateOptions, LoadOptions, generate, load
model = load("tiny", options=LoadOptions(dtype="float32"))
print(generate(model, {QUESTION!r}, options=GenerateOptions(temperature=0, max_tokens=64)))
"""


@pytest.fixture(scope="module")
def tiny_float32() -> LoadedModel:
    return load("tiny", options=LoadOptions(dtype="float32"))


@pytest.mark.parametrize("case", ["text", "turns", "image", "audio", "video", "mixed"])
def test_logits_are_the_references(case: str, parity_model: Callable[[str], LoadedModel]) -> None:
    allowed = LOGIT_TOLERANCE * goldens("e2b")[f"{case}/spread"][1]
    assert golden_error(parity_model("e2b"), "e2b", case) <= allowed


def test_a_greedy_answer_is_the_cpus(tiny_float32: LoadedModel) -> None:
    options = GenerateOptions(temperature=0, max_tokens=64)
    answer = generate(tiny_float32, QUESTION, options=options)
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_CPU],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer and answer == done.stdout.removesuffix("\n")


def test_a_caption_in_float32(tiny_float32: LoadedModel) -> None:
    options = GenerateOptions(temperature=0, max_tokens=64)
    assert generate(tiny_float32, "", images=[SCENE], options=options) == CAPTION


def test_a_caption_in_the_checkpoints_own_type(tiny: LoadedModel) -> None:
    options = GenerateOptions(temperature=0, max_tokens=64)
    caption = generate(tiny, "Describe this image.", images=[SCENE], options=options)
    assert "red circle" in caption and "blue star" in caption


def test_memory(tiny: LoadedModel) -> None:
    found = machine.device()
    assert found is not None and found.backend == "Metal" and found.name != "unknown"
    memory = machine.model_memory()
    assert 2**31 <= memory.total <= 2**42
    assert 0 < memory.free <= memory.total
    assert 2**30 <= memory.limit <= memory.total
    generate(tiny, QUESTION, options=GenerateOptions(max_tokens=1))
    weights = sum(file.stat().st_size for file in tiny.folder.glob("*.safetensors"))
    assert weights / 2 <= machine.taken() <= memory.total
