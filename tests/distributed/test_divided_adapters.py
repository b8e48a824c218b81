"""A model with an adapter in several processes computes what it computes in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from support.adapters import matrices, peft_config, write, write_mlx_lm, write_peft
from support.checkpoints import PARITY
from support.goldens import ARCHS, FOLDER
from support.processes import divided
from support.quantized_checkpoints import AFFINE4, quantize_checkpoint

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.engine.adapter_loading import with_adapter
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.model import FeatureCache
from gemma4cli.errors import AdapterError
from gemma4cli.hub.adapter_files import read_adapter
from gemma4cli.options import LoadOptions

TOLERANCE = 1e-3
"""A share of the deviation of the logits."""
FLOAT32 = LoadOptions(dtype="float32", draft="none")
CASE = FOLDER / "cases" / "text_short.json"
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """A model in one process, and the same one in several."""

    whole: LocalModel
    parts: LocalModel

    def check(self, folder: Path, case: Path = CASE) -> None:
        adapter = read_adapter("a", folder)
        plain = trace(self.whole, case, max_tokens=1).logits
        expected = trace(with_adapter(self.whole, adapter), case, max_tokens=1).logits
        result = trace(with_adapter(self.parts, adapter), case, max_tokens=1).logits
        spread = expected.std()
        assert np.abs(expected - plain).max() > 10 * TOLERANCE * spread
        assert np.abs(result - expected).max() <= TOLERANCE * spread
        again = trace(self.parts, case, max_tokens=1).logits
        assert np.abs(again - plain).max() <= TOLERANCE * plain.std()


@contextmanager
def both(folder: Path, count: int) -> Iterator[Both]:
    whole = load(str(folder), options=FLOAT32)
    with divided(folder, count, FLOAT32) as network:
        yield Both(whole, replace(whole, network=network, soft_tokens=FeatureCache(), sizes={}))


QUICK = [("e2b", 2), ("26b", 2)]


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        pytest.param(arch, count, marks=() if (arch, count) in QUICK else pytest.mark.slow)
        for arch in ARCHS
        for count in (2, 4)
    ],
)
def test_recorded_adapters_change_all_parts(arch: str, count: int) -> None:
    """LoRA, DoRA, of tables, of experts, and whole tensors, as PEFT writes them."""
    with both(PARITY / arch, count) as models:
        for folder in sorted((FOLDER / "adapters" / arch).iterdir()):
            models.check(folder)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_parts_of_groups_of_quantized_numbers_are_changed(
    arch: str, count: int, tmp_path: Path
) -> None:
    model = load(str(PARITY / arch), options=FLOAT32)
    quantized, _, _ = quantize_checkpoint(model, tmp_path / "model", lambda _: AFFINE4, AFFINE4)
    changes = matrices(model.network, *ALL)
    with both(quantized.folder, count) as models:
        models.check(write_mlx_lm(tmp_path / "mlx", changes))
        models.check(write_peft(tmp_path / "dora", changes, magnitude=0.7, use_dora=True))


def test_an_adapter_that_does_not_fit_is_refused_by_the_first_process(tmp_path: Path) -> None:
    model = load(str(PARITY / "31b"), options=FLOAT32)
    changes = {
        path: (mx.concatenate([a, a], axis=1), b)
        for path, (a, b) in matrices(model.network, "o_proj").items()
    }
    with both(PARITY / "31b", 2) as models:
        wide = read_adapter("wide", write_peft(tmp_path / "wide", changes))
        with pytest.raises(AdapterError, match="has the shape"):
            with_adapter(models.parts, wide)
        models.check(write_peft(tmp_path / "good", matrices(model.network, "o_proj")))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["31b", "26b"])
def test_whole_tensors_take_the_place_of_parts(arch: str, tmp_path: Path) -> None:
    model = load(str(PARITY / arch), options=FLOAT32)
    tensors = {}
    for path, module in model.network.language_model.model.named_modules():
        if path.endswith((".0.self_attn.o_proj", ".1.mlp.down_proj", ".0.self_attn.k_proj")):
            name = f"base_model.model.model.language_model.{path}.weight"
            tensors[name] = module.weight * 1.5
    quantized, _, _ = quantize_checkpoint(model, tmp_path / "model", lambda _: AFFINE4, AFFINE4)
    folder = write(tmp_path / "saved", tensors, peft_config(), "adapter_model.safetensors")
    for checkpoint in (PARITY / arch, quantized.folder):
        with both(checkpoint, 2) as models:
            models.check(folder)
