"""The built-in model gives the reference implementation's answers to all samples."""

from __future__ import annotations

import pytest
from support.answered import FIXTURES, Answered, answered
from support.cases import answer_of

import gemma4cli
from gemma4cli.engine.model import LoadedModel

SAMPLES = FIXTURES / "samples"
pytestmark = pytest.mark.toy
NOT_MEDIA = (".json", ".md")
CASES = answered(SAMPLES / "tiny.json")


def test_every_sample_has_an_answer() -> None:
    named = {name for each in CASES for name in each.files}
    assert named == {path.name for path in SAMPLES.glob("*.*") if path.suffix not in NOT_MEDIA}
    assert len(CASES) == 31


@pytest.mark.parametrize("sample", CASES, ids=str)
def test_answer_is_the_references(tiny: LoadedModel, sample: Answered) -> None:
    assert answer_of(tiny, sample.case) == sample.reference


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest) -> LoadedModel:
    """The model as GPUs run it: bfloat16 is what the checkpoints have."""
    return gemma4cli.load("tiny", options=gemma4cli.LoadOptions(dtype=request.param))


@pytest.mark.parametrize("sample", CASES[::3], ids=str)
def test_answer_in_half_precision(half: LoadedModel, sample: Answered) -> None:
    assert answer_of(half, sample.case) == sample.reference
