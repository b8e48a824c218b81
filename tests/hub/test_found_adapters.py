"""What the files of an adapter say, and which model an adapter that is given as one means."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.adapters import mlx_config, peft_config
from support.checkpoints import PARITY
from support.fake_hub import set_constants

from gemma4cli.errors import AdapterError
from gemma4cli.hub.adapter_files import AdapterFile
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.hub.needs import needs_of
from gemma4cli.hub.resolving import resolve
from gemma4cli.hub.snapshots import cached_repos
from gemma4cli.machine.memory import Work

Q = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
LORA = {f"{Q}.lora_A.weight": (2, 8), f"{Q}.lora_B.weight": (8, 2)}
MLX_Q = "language_model.model.layers.0.self_attn.q_proj"
MLX = {f"{MLX_Q}.lora_a": (8, 2), f"{MLX_Q}.lora_b": (2, 8)}


def adapter(
    folder: Path,
    config: object,
    shapes: dict[str, tuple[int, ...]],
    name: str = "adapter_model.safetensors",
) -> AdapterFile:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, folder / name)
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text)
    return find_adapter(str(folder))


@pytest.mark.parametrize(
    ("more", "scale"),
    [
        ({}, 1.5),
        ({"use_rslora": True}, 3 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 8}}, 4.0),
        ({"alpha_pattern": {r"layers\.[0-9]+\.self_attn\.(q|v)_proj": 8}}, 4.0),
        ({"alpha_pattern": {r"layers\.1\d*\..*": 8}}, 1.5),
        ({"alpha_pattern": {"k_proj": 8, r"^model\..*": 10}}, 5.0),
        ({"r": 16, "rank_pattern": {"self_attn.q_proj": 2}}, 1.5),
    ],
)
def test_the_scale_of_peft(more: dict[str, object], scale: float, tmp_path: Path) -> None:
    (part,) = adapter(tmp_path / "a", peft_config(**more), LORA).parts
    assert part.scale == pytest.approx(scale)
    assert part.path == MLX_Q


def test_the_scales_of_mlx(tmp_path: Path) -> None:
    (new,) = adapter(tmp_path / "a", mlx_config(), MLX, "adapters.safetensors").parts
    assert (new.path, new.scale) == (MLX_Q, 1.5)
    file = "adapters.safetensors"
    left = mlx_config(lora_parameters={"rank": 2, "scale": 1.5, "alpha": 16})
    assert adapter(tmp_path / "c", left, MLX, file).parts[0].scale == 1.5, "of mlx-lm before 0.14"


VLM = {f"{MLX_Q}.A": (8, 2), f"{MLX_Q}.B": (2, 8)}
VLM_CONFIG = {"rank": 2, "alpha": 16, "dropout": 0.0}


def test_the_scale_of_mlx_vlm_follows_its_version_where_the_file_tells_it(tmp_path: Path) -> None:
    """0.4.3 and 0.4.4 multiplied by alpha, and saved what they had not frozen; 0.5.0 divides."""
    file = "adapters.safetensors"
    new = adapter(tmp_path / "a", VLM_CONFIG, VLM, file)
    assert (new.layout, new.parts[0].scale) == ("mlx-vlm", 8.0)
    assert new.doubt is not None and 'add "scale": 16 to adapter_config.json' in new.doubt
    told = adapter(tmp_path / "b", {**VLM_CONFIG, "scale": 16}, VLM, file)
    assert (told.parts[0].scale, told.doubt) == (16.0, None)
    for name in ("embed_vision", "embed_audio"):
        shapes = {**VLM, f"{name}.embedding_projection.weight": (4, 4)}
        old = adapter(tmp_path / name, VLM_CONFIG, shapes, file)
        assert (old.parts[0].scale, old.doubt) == (16.0, None)
    tower = {**VLM, "audio_tower.layers.0.self_attn.per_dim_scale": (4,)}
    assert adapter(tmp_path / "tower", VLM_CONFIG, tower, file).parts[0].scale == 8.0
    alike = {f"{MLX_Q}.A": (8, 1), f"{MLX_Q}.B": (1, 8)}
    assert adapter(tmp_path / "c", {"rank": 1, "alpha": 16}, alike, file).doubt is None


def test_weights_of_the_first_mlx_lm_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "adapters.npz").write_bytes(b"")
    with pytest.raises(AdapterError, match=r"mlx-lm before 0\.6.*train it again"):
        find_adapter(str(tmp_path))


def test_names_of_a_training_run_are_those_of_the_file(tmp_path: Path) -> None:
    shapes = {
        f"{Q}.lora_A.default.weight": (2, 8),
        f"{Q}.lora_B.default.weight": (8, 2),
        f"{Q}.lora_magnitude_vector.default.weight": (8,),
        "base_model.model.lm_head.modules_to_save.default.weight": (4, 8),
        "base_model.model.model.language_model.embed_tokens.base_layer.weight": (4, 8),
    }
    found = adapter(tmp_path / "a", peft_config(), shapes)
    assert [(part.path, part.magnitude is not None) for part in found.parts] == [(MLX_Q, True)]
    assert sorted(found.whole.values()) == [
        "language_model.lm_head.weight",
        "language_model.model.embed_tokens.weight",
    ]
    assert found.summary == "DoRA of rank 2 for 1 layer and 2 whole tensors, PEFT"


REFUSED = {
    "another kind": (peft_config(peft_type="VERA"), LORA, "g4 reads LORA"),
    "tokens": (peft_config(trainable_token_indices=[1]), LORA, "sets trainable_token_indices"),
    "changed base": (peft_config(init_lora_weights="pissa"), LORA, "changes the base's weights"),
    "another rank": (peft_config(r=4), LORA, f"{Q}.lora_A.weight has the rank 2, and"),
    "rank 0": (peft_config(r=0), LORA, "r: must be a whole number from 1"),
    "large rank": (peft_config(r=10**9), LORA, "r: must be a whole number from 1"),
    "alpha": (peft_config(lora_alpha="16"), LORA, "lora_alpha: must be a number"),
    "flag": (peft_config(use_rslora=1), LORA, "use_rslora: must be true or false"),
    "slow expression": (
        peft_config(alpha_pattern={"(a+)+$": 1}), LORA, "may take forever"
    ),
    "many repetitions": (
        peft_config(rank_pattern={".*.*.*.*.*x": 1}), LORA, "may take forever"
    ),
    "no expression": (peft_config(alpha_pattern={"[": 1}), LORA, "is no regular expression"),
    "half": (peft_config(), {f"{Q}.lora_A.weight": (2, 8)}, "has no counterpart"),
    "nothing": (peft_config(), {}, "has no tensors"),
    "another adapter": (peft_config(), {f"{Q}.hada_w1_a": (2, 8)}, "kind of adapter that g4"),
    "no layout": ({"x": 1}, LORA, "is of no layout that g4 reads"),
    "no JSON": ("[1]", LORA, "must hold a JSON object"),
    "infinite": ('{"peft_type": "LORA", "r": 2, "lora_alpha": 1e999}', LORA, "finite number"),
    "scale of mlx": (mlx_config(lora_parameters={"rank": 2}), MLX, "lora_parameters.scale"),
    "kind of mlx": (mlx_config("qlora"), MLX, "fine_tune_type: must be lora, dora or full"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_adapter_that_g4_reads(kind: str, tmp_path: Path) -> None:
    config, shapes, message = REFUSED[kind]
    name = "adapters.safetensors" if shapes is MLX else "adapter_model.safetensors"
    with pytest.raises(AdapterError, match=re.escape(message)) as caught:
        adapter(tmp_path / "a", config, shapes, name)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("adapter ")


def test_a_folder_with_one_adapter_in_it_is_that_one(tmp_path: Path) -> None:
    adapter(tmp_path / "run" / "checkpoint-10", peft_config(), LORA)
    assert find_adapter(str(tmp_path / "run")).folder.name == "checkpoint-10"
    adapter(tmp_path / "run" / "checkpoint-20", peft_config(), LORA)
    with pytest.raises(AdapterError, match="holds several adapters; name one: checkpoint-10, "):
        find_adapter(str(tmp_path / "run"))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "me/nothing", "", "a\0b", "x" * 5000])
def test_any_name_is_an_error_at_most(name: str) -> None:
    with pytest.raises(AdapterError):
        find_adapter(name)


def test_an_adapter_as_a_model_means_the_model_that_it_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mine"
    adapter(folder, peft_config(), LORA)  # names the model tiny
    found = resolve(str(folder))
    tiny = resolve("tiny")
    assert (found.name, found.folder) == (str(folder), tiny.folder)
    assert found.adapter is not None and found.adapter.folder == folder
    assert "mine is an adapter (LoRA of rank 2 for 1 layer, PEFT); its model is tiny" in caplog.text
    assert needs_of(found, Work(tokens=64)) > needs_of(tiny, Work(tokens=64))


def test_a_model_and_an_adapter_have_one_name_together(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    adapter(folder, peft_config(), LORA)
    both = resolve("tiny", str(folder))
    assert both.name == f"tiny+{folder}"
    again = resolve(both.name)
    assert (again.name, again.adapter) != (both.name, None) and again.adapter is not None
    with pytest.raises(AdapterError, match="has an adapter already"):
        resolve(both.name, str(PARITY.parent / "adapters" / "e2b" / "lora"))


def test_an_adapter_whose_model_is_elsewhere_says_which_to_get(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    adapter(folder, peft_config(base_model_name_or_path="google/gemma-4-E2B-it"), LORA)
    with pytest.raises(AdapterError) as caught:
        resolve(str(folder))
    assert "g4 models pull google/gemma-4-E2B-it" in str(caught.value)
    assert f"-m MODEL --adapter {folder}" in str(caught.value)
    adapter(folder, {**peft_config(), "base_model_name_or_path": None}, LORA)
    with pytest.raises(AdapterError, match="names no model"):
        resolve(str(folder))


@pytest.mark.parametrize("base", ["mine", "other", "mine+other"])
def test_an_adapter_of_an_adapter_is_an_error(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of itself, and of one that is in turn for the first."""
    monkeypatch.chdir(tmp_path)
    adapter(Path("other"), peft_config(base_model_name_or_path="mine"), LORA)
    adapter(Path("mine"), peft_config(base_model_name_or_path=base), LORA)
    with pytest.raises(AdapterError, match=f"is an adapter for {re.escape(base)}, which is"):
        resolve("mine")


def test_an_adapter_in_the_cache_goes_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_constants(monkeypatch, HF_HUB_CACHE=str(tmp_path))
    source = tmp_path / "source"
    adapter(source, peft_config(), LORA)
    shutil.copytree(source, tmp_path / "models--me--lora" / "snapshots" / "1")
    assert [each.repo for each in cached_repos()] == ["me/lora"]
    assert find_adapter("me/lora").rank == 2
    assert resolve("me/lora").adapter is not None
    assert resolve("tiny", "me/lora").name == "tiny+me/lora"
