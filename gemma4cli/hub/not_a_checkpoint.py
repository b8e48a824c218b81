"""What a path is that was given as a model but is no checkpoint, and what to do instead."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from ..errors import CheckpointError, LoadError, ModelNotFoundError
from ..models.names import adapter_tensors
from .adapter_files import base_of
from .adapter_names import CONFIG, WEIGHTS
from .safetensors_headers import open_weights

ADAPTER_FILES = (*WEIGHTS, "adapter_model.bin")

_CONVERSION = "use a conversion for MLX, for example: g4 models pull e2b"
_CONVERT = (
    "save it as safetensors, with save_pretrained() of transformers or with mlx_lm.convert, and "
    "name that folder"
)
_KINDS = (
    ((".gguf",), "GGUF, the format of llama.cpp", _CONVERSION),
    ((".litertlm", ".task", ".tflite"), "LiteRT, a format for phones", _CONVERSION),
    ((".onnx",), "ONNX", _CONVERSION),
    ((".bin", ".pt", ".pth", ".ckpt"), "PyTorch's pickle format", _CONVERT),
    ((".npz",), "NumPy's format, which MLX used earlier", _CONVERT),
    ((".msgpack", ".h5"), "a format of Flax or Keras", _CONVERT),
)
"""Suffixes of other formats of weights: what they are, and what to do."""
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".zst", ".xz", ".7z")


def archive_problem(path: Path) -> str | None:
    """What is wrong with a file that has to be unpacked; None for any other."""
    is_archive = path.suffix.lower() in _ARCHIVES
    return "is an archive: unpack it, and name the folder" if is_archive else None


def refuse_file(name: str, path: Path) -> LoadError:
    """The error for a file that was given as a model."""
    if problem := archive_problem(path):
        return CheckpointError(name, problem)
    for suffixes, kind, advice in _KINDS:
        if path.suffix.lower() in suffixes and path.name not in ADAPTER_FILES:
            return CheckpointError(name, f"is a file in {kind}; g4 reads safetensors: {advice}")
    if path.name in (*ADAPTER_FILES, CONFIG):
        return _refuse_adapter(name, path.parent)
    if (path.parent / "config.json").is_file():
        return CheckpointError(
            name, f"is one file of a checkpoint: name its folder, -m {_quoted(path.parent)}"
        )
    if path.suffix == ".safetensors" and _is_adapter(path):
        return _refuse_adapter(name, path.parent)
    if path.suffix == ".safetensors":
        return CheckpointError(
            name, "is a file of weights: name a folder that has config.json and tokenizer.json too"
        )
    return CheckpointError(name, "is a file: name the folder of a checkpoint")


def refuse_folder(name: str, folder: Path) -> LoadError | None:
    """The error for a folder without config.json or without weights; None if it has both."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as exc:
        return CheckpointError(name, f"cannot be read ({exc.strerror or exc})")
    if "config.json" in names and _has_weights(names):
        return None
    if any(each in names for each in (*ADAPTER_FILES, CONFIG)):
        return _refuse_adapter(name, folder)
    if "model_index.json" in names:
        return CheckpointError(name, "is a diffusers pipeline; g4 runs Gemma 4 only")
    if "config.json" not in names:
        return _without_config(name, folder, names)
    if unfinished(folder):
        return CheckpointError(name, "its download is unfinished: run the same command again")
    for suffixes, kind, advice in _KINDS:
        if _any_ends(names, suffixes):
            return CheckpointError(name, f"has weights in {kind}; g4 reads safetensors: {advice}")
    others = [each for each in names if each.endswith(".safetensors")]
    if others:
        return CheckpointError(
            name,
            f"its weights are in {others[0]}; g4 reads model.safetensors, or the files that "
            "model.safetensors.index.json names: rename it",
        )
    return None


def unused_adapter(folder: Path) -> str | None:
    """The name of an adapter's file beside a checkpoint, if there is one."""
    return next((name for name in ADAPTER_FILES if (folder / name).exists()), None)


def unfinished(folder: Path) -> bool:
    """Whether ``hf download --local-dir`` has not finished in this folder."""
    return any((folder / ".cache" / "huggingface").rglob("*.incomplete"))


def _without_config(name: str, folder: Path, names: list[str]) -> LoadError:
    inner = [each for each in names if (folder / each / "config.json").is_file()]
    if len(inner) == 1:
        return CheckpointError(
            name, f"the checkpoint is in a folder in it: -m {_quoted(folder / inner[0])}"
        )
    if inner:
        return CheckpointError(name, f"holds several checkpoints; name one: {_listed(inner)}")
    repos = [each for each in names if each.startswith("models--")]
    if repos:
        return CheckpointError(
            name, "is a hub cache: set HF_HUB_CACHE to it, and g4 models list shows its models"
        )
    if folder.name.startswith("models--") and "snapshots" in names:
        repo = folder.name.removeprefix("models--").replace("--", "/")
        return CheckpointError(
            name, f"is the folder of a repository in a hub cache: name it as -m {repo}"
        )
    for suffixes, kind, advice in _KINDS:
        if _any_ends(names, suffixes):
            return CheckpointError(name, f"has weights in {kind}; g4 reads safetensors: {advice}")
    weights = [each for each in names if each.endswith(".safetensors")]
    if any(_is_adapter(folder / each) for each in weights):
        return _refuse_adapter(name, folder)
    adapters = [each for each in names if (folder / each / CONFIG).is_file()]
    if adapters:
        return _refuse_adapter(str(folder / adapters[0]), folder / adapters[0])
    if weights:
        return ModelNotFoundError(
            str(folder),
            "the folder has no config.json: copy it, tokenizer.json and the other JSON files of "
            "the model that the weights were made from",
        )
    return ModelNotFoundError(
        str(folder), "the folder has no config.json; name a folder with a checkpoint"
    )


def _is_adapter(weights: Path) -> bool:
    """Whether a file has tensors of an adapter; False if it cannot be read."""
    try:
        with open_weights(weights) as file:
            return bool(adapter_tensors(file.keys()))
    except CheckpointError:
        return False


def _refuse_adapter(name: str, folder: Path) -> LoadError:
    base = base_of(folder)
    what = "an adapter" if base is None else f"an adapter for {base}"
    return CheckpointError(
        name, f"is {what}, not a model: name the model, and it with --adapter {_quoted(folder)}"
    )


def _has_weights(names: Iterable[str]) -> bool:
    return any(
        name == "model.safetensors.index.json"
        or (name.startswith("model") and name.endswith(".safetensors"))
        for name in names
    )


def _any_ends(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(suffixes) for name in names)


def _quoted(path: Path) -> str:
    """A path as a shell takes it; "./" tells a folder from an alias."""
    text = shlex.quote(str(path))
    return text if path.is_absolute() or text.startswith((".", "'")) else f"./{text}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
