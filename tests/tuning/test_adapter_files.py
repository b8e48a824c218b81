"""The files of an adapter: g4, PEFT's names and mlx-lm itself give the logits of what was tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from support.checkpoints import variant
from support.goldens import FOLDER, inputs_of

from gemma4cli.api import load
from gemma4cli.engine.adapter_loading import with_adapter
from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import OptionError, TuningError
from gemma4cli.hub.adapter_files import read_adapter
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.training import hidden_states, with_gradients
from gemma4cli.options import LoadOptions
from gemma4cli.tuning.adapter import LowRankOptions, target_paths, with_new_adapter
from gemma4cli.tuning.adapter_files import (
    Form,
    form_of,
    layout_of,
    read_parameters,
    require_form,
    write_adapter,
)
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.steps import Learner, Parameters

CHECKPOINTS = FOLDER / "checkpoints"
FLOAT = LoadOptions(dtype="float32", draft="none")
TARGETS = {"e2b": ("attention", "mlp", "per-layer"), "26b": ("attention", "mlp", "experts")}


def tuned(model: LocalModel, arch: str) -> tuple[Gemma4, LowRankOptions, Parameters]:
    """A network with an adapter of drawn numbers."""
    options = LowRankOptions(rank=3, alpha=4.5, targets=TARGETS[arch])
    network = with_new_adapter(with_gradients(model.network, towers=False), options, seed=0)
    media = MediaStore(model=model, folder=Path(), in_step=False)
    learner = Learner(network=network, media=media, tokens_at_once=1)
    learner.use(
        {
            name: 0.2 * mx.random.normal(value.shape, key=mx.random.key(number))
            for number, (name, value) in enumerate(learner.parameters.items())
        }
    )
    return network, options, learner.parameters


def logits(network: Gemma4, ids: mx.array) -> np.ndarray:
    hidden = hidden_states(network, ids, [[]])
    return np.array(network.language_model.logits(hidden[:, -1:])[0, 0])


def write(
    folder: Path, model: LocalModel, arch: str, form: Form
) -> tuple[Gemma4, LowRankOptions, Parameters]:
    folder.mkdir(exist_ok=True)
    network, options, parameters = tuned(model, arch)
    layout = layout_of(model.network.config)
    write_adapter(folder, parameters, options, base=model.name, layout=layout, form=form)
    return network, options, parameters


@pytest.mark.parametrize("form", ["peft", "mlx-lm"])
@pytest.mark.parametrize("arch", ["26b", pytest.param("e2b", marks=pytest.mark.slow)])
def test_what_is_written_is_what_was_tuned(arch: str, form: Form, tmp_path: Path) -> None:
    """In PEFT's layout gates and ups of experts are one matrix; it has twice the rank."""
    model = load(str(CHECKPOINTS / arch), options=FLOAT)
    network, options, parameters = write(tmp_path, model, arch, form)
    ids = mx.array([list(inputs_of(model, "text").ids)])
    again = with_adapter(model, read_adapter("written", tmp_path))
    found = logits(with_gradients(again.network, towers=False), ids)
    np.testing.assert_allclose(found, logits(network, ids), rtol=0, atol=1e-3)
    assert np.abs(found - logits(with_gradients(model.network, towers=False), ids)).max() > 0.1
    read = read_parameters(tmp_path, parameters, options, layout_of(model.network.config))
    assert read.keys() == parameters.keys()
    assert all(np.array_equal(np.array(read[name]), np.array(parameters[name])) for name in read)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_mlx_lm_loads_it(arch: str, tmp_path: Path) -> None:
    load_model = pytest.importorskip("mlx_lm.utils").load_model
    load_adapters = pytest.importorskip("mlx_lm.tuner.utils").load_adapters
    config: dict[str, Any] = json.loads((CHECKPOINTS / arch / "config.json").read_text())
    config["vocab_size"] = 400  # mlx-lm's default is Gemma's
    base = variant(CHECKPOINTS / arch, tmp_path / "base", config=config)
    model = load(str(base), options=FLOAT)
    network, _, _ = write(tmp_path / "adapter", model, arch, "mlx-lm")
    theirs, _ = load_model(base, lazy=True)
    theirs = load_adapters(theirs, str(tmp_path / "adapter"))
    theirs.set_dtype(mx.float32)
    theirs.eval()
    ids = mx.array([list(inputs_of(model, "text").ids)])
    expected = np.array(theirs(ids)[0, -1])
    np.testing.assert_allclose(logits(network, ids), expected, rtol=0, atol=5e-3)


def test_what_has_no_place_in_mlx_lm(tiny: LocalModel) -> None:
    assert form_of("mlx-lm") == "mlx-lm"
    with pytest.raises(OptionError, match="--layout gguf: use one of peft, mlx-lm"):
        form_of("gguf")
    require_form("peft", target_paths(tiny.network, ("vision",)))
    with pytest.raises(OptionError, match="mlx-lm has the language model alone"):
        require_form("mlx-lm", target_paths(tiny.network, ("mlp", "vision")))


def test_a_damaged_file_is_named(tiny: LocalModel, tmp_path: Path) -> None:
    (tmp_path / "adapters.safetensors").write_bytes(b"")
    options = LowRankOptions(rank=2, alpha=4, targets=("mlp",))
    with pytest.raises(TuningError, match=r"adapters\.safetensors: cannot be read"):
        read_parameters(tmp_path, [], options, layout_of(tiny.network.config))
