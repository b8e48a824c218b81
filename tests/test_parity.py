"""g4 against Hugging Face transformers 5.23, on tiny checkpoints of all five architectures.

fixtures/parity/record.py recorded the goldens; its README describes them. Tolerances are shares of
the standard deviation of the recorded logits. The reference in float32 differs from itself in
float64 by up to 1e-4 of it, and the mistakes that these cases detect by 1e-2 or more.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support.goldens import ARCHS, FOLDER, goldens

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.options import LoadOptions

LOGIT_TOLERANCE = 1e-3
SOFT_TOKEN_TOLERANCE = 1e-3
STEPS = 24


def case_names(arch: str, marker: str) -> list[str]:
    return [key.split("/")[0] for key in goldens(arch) if key.endswith(f"/{marker}")]


LARGE = {"image_560", "image_1120", "audio_31s"}
LARGE_IN_A_PLAIN_RUN = {("e2b", "image_560"), ("12b", "image_1120"), ("e4b", "audio_31s")}
"""Large cases take seconds: a plain run has each of them once, ``-m slow`` those of all models."""
CASES = [
    pytest.param(
        arch,
        name,
        id=f"{arch}-{name}",
        marks=[pytest.mark.slow]
        if name in LARGE and (arch, name) not in LARGE_IN_A_PLAIN_RUN
        else [],
    )
    for arch in ARCHS
    for name in case_names(arch, "logits")
]
UNCLAMPED = case_names("12b", "logits_unclamped")


@pytest.fixture(scope="module")
def model_of():
    """Loads each checkpoint once per module."""

    @cache
    def load_tiny(arch: str, full_attention_blocks: bool = False):
        options = LoadOptions(dtype="float32", unified_full_attention_blocks=full_attention_blocks)
        return load(str(FOLDER / "checkpoints" / arch), options=options)

    return load_tiny


def check_logits(result, arch: str, name: str, mask: str = "") -> None:
    """The recorded logits of the prefill, then the greedy answer up to the first near tie."""
    golden = {
        key.split("/")[1]: value
        for key, value in goldens(arch).items()
        if key.startswith(f"{name}/")
    }
    allowed = LOGIT_TOLERANCE * golden[f"spread{mask}"][1]
    error = np.abs(result.logits[:, golden["columns"]] - golden[f"logits{mask}"])
    assert error.max() <= allowed, (
        f"position {error.max(axis=1).argmax()} is off by {error.max():.2g}, allowed {allowed:.2g}"
    )
    assert np.abs(result.logits[-1] - golden[f"last{mask}"]).max() <= allowed

    undecided = np.flatnonzero(golden[f"margins{mask}"] <= 2 * allowed)
    decided = undecided[0] if len(undecided) else STEPS
    assert result.greedy[:decided].tolist() == golden[f"greedy{mask}"][:decided].tolist()


@pytest.mark.parametrize(("arch", "name"), CASES)
def test_case_matches_the_reference(arch: str, name: str, model_of) -> None:
    golden = goldens(arch)
    result = trace(model_of(arch), FOLDER / "cases" / f"{name}.json", max_tokens=STEPS)

    assert result.input_ids.tolist() == golden[f"{name}/input_ids"].tolist()
    assert len(result.soft_tokens) == golden[f"{name}/soft_token_count"]
    soft_tokens = result.soft_tokens[golden[f"{name}/soft_token_rows"]]
    np.testing.assert_allclose(
        soft_tokens, golden[f"{name}/soft_tokens"], rtol=0, atol=SOFT_TOKEN_TOLERANCE
    )
    check_logits(result, arch, name)


@pytest.mark.parametrize("name", UNCLAMPED)
def test_12b_with_bidirectional_blocks_on_full_layers_matches_the_reference(
    name: str, model_of
) -> None:
    model = model_of("12b", full_attention_blocks=True)
    result = trace(model, FOLDER / "cases" / f"{name}.json", max_tokens=STEPS)
    check_logits(result, "12b", name, "_unclamped")
