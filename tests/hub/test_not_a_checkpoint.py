"""What is given as a model and is none: the error says what it is, and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from support.fake_hub import set_constants

from gemma4cli.api import load
from gemma4cli.errors import AdapterError, LoadError
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.resolving import resolve

TINY = BUILTIN["tiny"]
CONFIG = (TINY / "config.json").read_bytes()
PEFT = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "google/gemma-4-E2B-it"})
MLX = json.dumps({"fine_tune_type": "lora", "model": "mlx-community/gemma-4-e2b-it-4bit"})
LORA = save({"layers.0.self_attn.q_proj.lora_A.weight": np.zeros((2, 2), np.float32)})

FOLDERS: dict[str, tuple[Mapping[str, str | bytes], tuple[str, ...]]] = {
    "adapter of peft": (
        {"adapter_config.json": PEFT, "adapter_model.safetensors": ""},
        ("adapter ", "adapter_model.safetensors: is incomplete"),
    ),
    "adapter of mlx-lm": (
        {"adapter_config.json": MLX, "adapters.safetensors": ""},
        ("adapter ", "adapters.safetensors: is incomplete"),
    ),
    "adapter without its config": (
        {"adapters.safetensors": ""},
        ("adapter ", "has no adapter_config.json"),
    ),
    "adapter with a broken config": (
        {"adapter_config.json": "[", "adapter_model.bin": ""},
        ("adapter ", "adapter_config.json: is not valid JSON"),
    ),
    "adapter with the config of its base": (
        {"adapter_config.json": PEFT, "adapter_model.safetensors": "", "config.json": CONFIG},
        ("adapter ", "adapter_model.safetensors: is incomplete"),
    ),
    "GGUF": ({"gemma-4-Q4_K_M.gguf": "", "README.md": ""}, ("GGUF", "g4 models pull e2b")),
    "GGUF with a config": ({"config.json": CONFIG, "a.GGUF": ""}, ("GGUF",)),
    "PyTorch": (
        {"config.json": CONFIG, "pytorch_model.bin": ""},
        ("PyTorch", "g4 reads safetensors", "mlx_lm.convert"),
    ),
    "NumPy": ({"config.json": CONFIG, "weights.npz": ""}, ("NumPy", "mlx_lm.convert")),
    "diffusers": ({"model_index.json": "{}", "unet/config.json": "{}"}, ("diffusers pipeline",)),
    "one folder in it": (
        {"checkpoint 1/config.json": CONFIG, "log.txt": ""},
        ("the checkpoint is in a folder in it: -m", "checkpoint 1'"),
    ),
    "several folders in it": (
        {"checkpoint-10/config.json": CONFIG, "checkpoint-20/config.json": CONFIG},
        ("holds several checkpoints; name one: checkpoint-10, checkpoint-20",),
    ),
    "an adapter in other names": (
        {"pytorch_lora_weights.safetensors": LORA},
        ("is an adapter, not a model: name the model, and it with --adapter",),
    ),
    "an adapter in a folder of a training run": (
        {"checkpoint-10/adapter_config.json": PEFT, "checkpoint-10/adapter_model.safetensors": ""},
        ("checkpoint-10: is an adapter for google/gemma-4-E2B-it",),
    ),
    "weights only": (
        {"model.safetensors": ""},
        ("the folder has no config.json: copy it, tokenizer.json",),
    ),
    "other names of weights": (
        {"config.json": CONFIG, "consolidated.safetensors": ""},
        ("its weights are in consolidated.safetensors", "rename it"),
    ),
    "index without shards": (
        {
            "config.json": CONFIG,
            "model.safetensors.index.json": json.dumps(
                {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
            ),
        },
        ("model-1.safetensors: no such file (2 of 2 files of weights are missing)",),
    ),
    "an unfinished download": (
        {"config.json": CONFIG, ".cache/huggingface/download/x.incomplete": ""},
        ("its download is unfinished",),
    ),
    "hub cache": ({"models--a--b/refs/main": "x"}, ("is a hub cache: set HF_HUB_CACHE",)),
    "config only": ({"config.json": CONFIG}, ("model.safetensors: no such file",)),
    "nothing": ({}, ("config.json; name a folder with a checkpoint",)),
}


def fill(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def message(name: str) -> str:
    with pytest.raises(LoadError) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_that_is_no_checkpoint(kind: str, tmp_path: Path) -> None:
    files, parts = FOLDERS[kind]
    text = message(str(fill(tmp_path / "mine", files)))
    assert all(part in text for part in parts), text


def test_the_folder_of_a_cached_repository_is_named_by_its_id(tmp_path: Path) -> None:
    root = fill(tmp_path / "models--org--name", {"snapshots/1/config.json": CONFIG})
    assert "-m org/name" in message(str(root))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("model.gguf", ("GGUF", "g4 models pull e2b")),
        ("model.bin", ("PyTorch's pickle format",)),
        ("model.npz", ("NumPy",)),
        ("model.litertlm", ("LiteRT",)),
        ("model.tar.gz", ("an archive: unpack it",)),
        ("adapters.safetensors", ("is an adapter",)),
        ("adapter_config.json", ("is an adapter for google/gemma-4-E2B-it",)),
        ("weights.safetensors", ("is a file of weights: name a folder",)),
        ("notes.txt", ("is a file: name the folder of a checkpoint",)),
    ],
)
def test_a_file(name: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(PEFT)
    text = message(str(path))
    assert text.startswith(f"{path}: ")
    assert all(part in text for part in parts), text


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_of_a_checkpoint_names_its_folder(name: str) -> None:
    assert f"name its folder, -m {TINY}" in message(str(TINY / name))


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapters.safetensors"])
def test_adapter_files_beside_a_checkpoint_give_a_notice(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "mine"))
    (folder / name).write_bytes(b"")
    load(str(folder))
    assert f"{name} beside the weights is not used" in caplog.text


def test_an_adapter_in_the_cache_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_constants(monkeypatch, HF_HUB_CACHE=str(tmp_path))
    fill(
        tmp_path / "models--me--lora",
        {"snapshots/1/adapter_config.json": PEFT, "snapshots/1/adapter_model.safetensors": ""},
    )
    with pytest.raises(AdapterError, match=r"me/lora: adapter_model\.safetensors: is incomplete"):
        resolve("me/lora")


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "a\0b", "x" * 5000, "\udce9", ""])
def test_any_name_is_an_error_at_most(name: str) -> None:
    message(name)
