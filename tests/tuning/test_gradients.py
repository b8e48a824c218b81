"""Gradients of training against torch's, on the parity checkpoints of all architectures.

fixtures/parity/record_gradients.py recorded them with PEFT, for a conversation with text, pictures,
video frames and, where the model hears, sound.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from support.goldens import ARCHS, FOLDER, inputs_of

from gemma4cli.api import load
from gemma4cli.engine.local import LocalModel
from gemma4cli.models.audio_tower import AudioFeedForward
from gemma4cli.models.low_rank import LowRankLinear
from gemma4cli.models.training import with_gradients
from gemma4cli.models.vision_tower import VisionAttention
from gemma4cli.options import LoadOptions
from gemma4cli.processing.prompt import MediaSpan
from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
from gemma4cli.tuning.adapter_files import layout_of, peft_name
from gemma4cli.tuning.examples import Example
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.steps import Learner

TOLERANCE = 2e-3
"""Of the largest number in a gradient."""
TARGETS = ("attention", "mlp", "projections", "vision", "audio")
TOWERS = ("encoder.layers.0.self_attn.q_proj.", "audio_tower.layers.0.self_attn.v_proj.")
"""Those of the towers' layers that had an addition."""
ALPHA, RANK = 6, 2


def recorded(arch: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / "golden" / f"{arch}-gradients.npz") as file:
        return dict(file)


def seeded(name: str, shape: tuple[int, ...]) -> mx.array:
    """The matrix that record_gradients.py draws for a parameter."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return mx.array((0.2 * generator.standard_normal(shape)).astype(np.float32))


def example_of(model: LocalModel, arch: str, golden: dict[str, np.ndarray]) -> Example:
    case = "mixed" if "audio" in model.network.config.inputs else "mixed_sight"
    inputs = inputs_of(model, case)
    ids, start = golden["ids"].tolist(), int(golden["start"])
    assert list(inputs.ids) == ids[:start]
    spans: tuple[MediaSpan, ...] = inputs.spans
    return Example(
        origin=arch,
        ids=tuple(ids),
        learned=((start, len(ids)),),
        spans=spans,
        digests=tuple(each.digest for each in inputs.features),
    )


def learner_of(model: LocalModel, arch: str, tmp_path: Path) -> Learner:
    """The model with the recorded adapter, whose towers are in the gradient."""
    case = "mixed" if "audio" in model.network.config.inputs else "mixed_sight"
    media = MediaStore(model=model, folder=tmp_path, in_step=True)
    media.add(inputs_of(model, case).features)
    additions = LowRankOptions(
        rank=RANK, alpha=ALPHA, targets=tuple(t for t in TARGETS if has(model, t))
    )
    network = with_new_adapter(with_gradients(model.network, towers=True), additions, seed=0)
    set_parameters(model, network, recorded(arch))
    return Learner(network=network, media=media, tokens_at_once=1)


def has(model: LocalModel, target: str) -> bool:
    config = model.network.config
    return (
        not config.unified
        if target == "vision"
        else ("audio" in config.inputs and not config.unified if target == "audio" else True)
    )


def short_name(model: LocalModel, name: str) -> str:
    """The recorded name of a parameter."""
    return peft_name(name, layout_of(model.network.config)).removeprefix("base_model.model.")


def set_parameters(model: LocalModel, network: nn.Module, golden: dict[str, np.ndarray]) -> None:
    """Give the additions the recorded values; zeros in towers' layers that had none."""
    drawn = []
    for name, value in tree_flatten(network.trainable_parameters()):
        peft = short_name(model, name)
        had_none = "_tower." in name and not any(part in peft for part in TOWERS)
        value = mx.zeros_like(value) if had_none else seeded(peft, tuple(value.T.shape)).T
        drawn.append((name, value))
    network.update(tree_unflatten(drawn))


def test_towers_that_are_tuned_stay_on_the_native_part(tiny: LocalModel) -> None:
    pytest.importorskip("gemma4cli.native._native")
    additions = LowRankOptions(rank=2, alpha=4, targets=("vision", "audio"))
    network = with_new_adapter(with_gradients(tiny.network, towers=True), additions, seed=0)
    plain = {nn.Linear, nn.RMSNorm, VisionAttention, AudioFeedForward, LowRankLinear}
    towers = (network.vision_tower.encoder, *network.audio_tower.layers)
    found = {type(module) for tower in towers for module in tower.modules()}
    assert not found & plain


@pytest.mark.parametrize(
    "arch",
    [arch if arch == "12b" else pytest.param(arch, marks=pytest.mark.slow) for arch in ARCHS],
)
def test_gradients_are_those_of_torch(arch: str, tmp_path: Path) -> None:
    golden = recorded(arch)
    model = load(
        str(FOLDER / "checkpoints" / arch), options=LoadOptions(dtype="float32", draft="none")
    )
    example = example_of(model, arch, golden)
    learner = learner_of(model, arch, tmp_path)
    loss, gradients = learner.gradients([example])
    assert loss * example.targets == pytest.approx(float(golden["loss"]), rel=1e-4)
    found = {f"gradient/{short_name(model, name)}": value for name, value in gradients.items()}
    compared = [name for name in golden if name.startswith("gradient/")]
    assert len(compared) > 20
    for name in compared:
        expected = golden[name]
        error = np.abs(np.array(found[name].T) * example.targets - expected).max()
        assert error <= TOLERANCE * np.abs(expected).max(), name
