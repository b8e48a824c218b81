"""The built-in model gives the reference implementation's answers to all samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gemma4cli
from gemma4cli.engine.model import LoadedModel

SAMPLES = Path(__file__).parents[1] / "fixtures" / "samples"
NOT_MEDIA = (".json", ".md")
CASES: list[dict[str, Any]] = json.loads((SAMPLES / "tiny.json").read_bytes())


def files(case: dict[str, Any]) -> list[str]:
    return [*case["images"], *case["audio"], *case["videos"]]


def test_every_sample_has_an_answer() -> None:
    named = {name for case in CASES for name in files(case)}
    assert named == {path.name for path in SAMPLES.glob("*.*") if path.suffix not in NOT_MEDIA}
    assert len(CASES) == 31


def answer(model: LoadedModel, case: dict[str, Any]) -> str:
    return gemma4cli.generate(
        model,
        case["prompt"],
        images=[SAMPLES / name for name in case["images"]],
        audio=[SAMPLES / name for name in case["audio"]],
        videos=[SAMPLES / name for name in case["videos"]],
    )


def stem(case: dict[str, Any]) -> str:
    return Path([*files(case), case["prompt"]][0]).stem


@pytest.mark.parametrize("case", CASES, ids=stem)
def test_answer_is_the_references(tiny: LoadedModel, case: dict[str, Any]) -> None:
    assert answer(tiny, case) == case["reference_text"]


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest) -> LoadedModel:
    """The model as GPUs run it: bfloat16 is what the checkpoints have."""
    return gemma4cli.load("tiny", options=gemma4cli.LoadOptions(dtype=request.param))


@pytest.mark.parametrize("case", CASES[::3], ids=stem)
def test_answer_in_half_precision(half: LoadedModel, case: dict[str, Any]) -> None:
    assert answer(half, case) == case["reference_text"]
