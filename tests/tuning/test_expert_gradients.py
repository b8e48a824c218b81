"""Gradients of experts against torch's, on the parity checkpoint of the 26B.

fixtures/parity/record_expert_gradients.py recorded them with PEFT, in which gates and ups are one
matrix that shares its ``a``: here each has one, and the gradients of both add up to PEFT's.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from support.goldens import FOLDER

from gemma4cli.api import load
from gemma4cli.models.training import with_gradients
from gemma4cli.options import LoadOptions
from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
from gemma4cli.tuning.examples import Example
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.steps import Learner, Parameters

TOLERANCE = 2e-3
"""Of the largest number in a gradient."""
ALPHA, RANK = 6, 2


def seeded(name: str, shape: tuple[int, ...]) -> mx.array:
    """The matrix that record_expert_gradients.py draws for a parameter."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return mx.array((0.2 * generator.standard_normal(shape)).astype(np.float32))


def drawn(parameters: Parameters) -> Parameters:
    """The recorded values in the shapes of the network."""
    found = {}
    for name, value in parameters.items():
        path, matrix, part = name.rsplit(".", 2)
        experts = path.removesuffix(".switch_glu").removeprefix("language_model.model.")
        nested = "" if matrix == "down_proj" else ".base_layer"
        peft = f"model.language_model.{experts}{nested}.lora_{part[-1].upper()}.weight"
        count = value.shape[0]
        if part == "lora_a":
            shape = (count * RANK, value.shape[2])
            found[name] = seeded(peft, shape).reshape(value.shape)
            continue
        rows = value.shape[1] * (2 if nested else 1)
        b = seeded(peft, (rows, RANK * count)).reshape(rows, RANK, count).transpose(2, 0, 1)
        half = value.shape[1] if matrix == "up_proj" else 0
        found[name] = b[:, half : half + value.shape[1]]
    return found


def as_peft(gradients: Parameters, layer: int, *, down: bool) -> tuple[mx.array, mx.array]:
    """The gradients of ``a`` and ``b`` in PEFT's shapes."""
    path = f"language_model.model.layers.{layer}.experts.switch_glu"
    kinds = ("down",) if down else ("gate", "up")
    a = sum(gradients[f"{path}.{kind}_proj.lora_a"] for kind in kinds)
    b = mx.concatenate([gradients[f"{path}.{kind}_proj.lora_b"] for kind in kinds], axis=1)
    assert isinstance(a, mx.array)
    return a.reshape(-1, a.shape[-1]), b.transpose(1, 2, 0).reshape(b.shape[1], -1)


def test_gradients_of_experts_are_those_of_torch(tmp_path: Path) -> None:
    with np.load(FOLDER / "golden" / "26b-expert-gradients.npz") as file:
        golden = dict(file)
    options = LoadOptions(dtype="float32", draft="none")
    model = load(str(FOLDER / "checkpoints" / "26b"), options=options)
    additions = LowRankOptions(rank=RANK, alpha=ALPHA, targets=("experts",))
    network = with_new_adapter(with_gradients(model.network, towers=False), additions, seed=0)
    media = MediaStore(model=model, folder=tmp_path, in_step=False)
    learner = Learner(network=network, media=media, tokens_at_once=1000)
    assert not any("router" in name for name in learner.parameters)
    learner.use(drawn(learner.parameters))
    ids, start = tuple(golden["ids"].tolist()), int(golden["start"])
    example = Example(origin="26b", ids=ids, learned=((start, len(ids)),), spans=(), digests=())
    loss, gradients = learner.gradients([example])
    assert loss * example.targets == pytest.approx(float(golden["loss"]), rel=1e-4)
    for layer in (0, 4):
        for down in (False, True):
            nested = "" if down else ".base_layer"
            name = f"gradient/model.language_model.layers.{layer}.experts{nested}"
            for part, found in zip("AB", as_peft(gradients, layer, down=down), strict=True):
                expected = golden[f"{name}.lora_{part}.weight"]
                error = np.abs(np.array(found) * example.targets - expected).max()
                assert error <= TOLERANCE * np.abs(expected).max(), (layer, down, part)
