"""Running a parity case step by step, and how far its logits are from the reference's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gemma4cli.conversations import trace
from gemma4cli.engine.encode import encode_media
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import make_prefill
from gemma4cli.models.gemma4 import SoftTokens
from gemma4cli.processing.inputs import ModelInputs

FOLDER = Path(__file__).parents[2] / "fixtures" / "parity"
ARCHS = ("e2b", "e4b", "12b", "26b", "31b")
TOLERANCE = 2e-3
"""Of logits whose deviation is 4.4: right in float32. The largest error seen is 1.3e-3."""


def inputs_of(model: LoadedModel, case: str) -> ModelInputs:
    """A parity case as the model takes it."""
    return trace.inputs_of(model, FOLDER / "cases" / f"{case}.json")


def soft_tokens_of(model: LoadedModel, inputs: ModelInputs) -> list[SoftTokens]:
    """The soft tokens of a prompt's media."""
    return next(step for step in encode_media(model, inputs) if isinstance(step, list))


def logits_of(model: LoadedModel, inputs: ModelInputs, *, step: int = 512) -> mx.array:
    """Logits ``[S, V]`` of a prompt, prefilled ``step`` tokens at a time."""
    cache = model.network.language_model.make_cache()
    soft_tokens = soft_tokens_of(model, inputs)
    return make_prefill(model, inputs, soft_tokens, step).all_logits(cache)


@cache
def goldens(arch: str) -> dict[str, npt.NDArray[np.generic]]:
    """The reference's arrays of an architecture, by "case/array"."""
    with np.load(FOLDER / "golden" / f"{arch}.npz") as file:
        return dict(file)


def golden_error(model: LoadedModel, arch: str, case: str) -> float:
    """The largest error of a case's logits; infinite for another prompt, or for no number."""
    reference = goldens(arch)
    inputs = inputs_of(model, case)
    if list(inputs.ids) != reference[f"{case}/input_ids"].tolist():
        return float("inf")
    logits = np.array(logits_of(model, inputs))[:, reference[f"{case}/columns"]]
    error = np.abs(logits - reference[f"{case}/logits"]).max()
    return float(np.nan_to_num(error, nan=np.inf))
