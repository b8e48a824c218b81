"""The built-in model gives the reference implementation's answers to all samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gemma4cli
from gemma4cli.engine.model import LoadedModel

SAMPLES = Path(__file__).parents[1] / "fixtures" / "samples"
NOT_MEDIA = (".json", ".md", ".py")
OUTPUTS: list[dict[str, str | None]] = json.loads((SAMPLES / "outputs.json").read_bytes())


def test_every_sample_has_an_answer() -> None:
    named = {output["file"] for output in OUTPUTS if output["file"]}
    assert named == {path.name for path in SAMPLES.glob("*.*") if path.suffix not in NOT_MEDIA}
    assert len(OUTPUTS) == 31


def answer(model: LoadedModel, output: dict[str, str | None]) -> str:
    given = [SAMPLES / output["file"]] if output["file"] else []
    return gemma4cli.generate(
        model,
        str(output["prompt"]),
        images=given if output["kind"] == "image" else [],
        audio=given if output["kind"] == "audio" else [],
        videos=given if output["kind"] == "video" else [],
    )


def stem(output: dict[str, str | None]) -> str:
    return Path(output["file"] or str(output["prompt"])).stem


@pytest.mark.parametrize("output", OUTPUTS, ids=stem)
def test_answer_is_the_references(tiny: LoadedModel, output: dict[str, str | None]) -> None:
    assert answer(tiny, output) == output["reference_text"]


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest) -> LoadedModel:
    """The model as GPUs run it: bfloat16 is what the checkpoints have."""
    return gemma4cli.load("tiny", options=gemma4cli.LoadOptions(dtype=request.param))


@pytest.mark.parametrize("output", OUTPUTS[::3], ids=stem)
def test_answer_in_half_precision(half: LoadedModel, output: dict[str, str | None]) -> None:
    assert answer(half, output) == output["reference_text"]
