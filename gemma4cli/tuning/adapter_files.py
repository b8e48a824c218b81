"""The files of an adapter that is tuned, in PEFT's layout or in mlx-lm's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import mlx.core as mx

from ..errors import OptionError, TuningError
from ..hub.adapter_names import CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS
from ..models.config import Gemma4Config
from ..own_files import shared_mode, whole_file
from .adapter import LowRankOptions

Layout = Literal["gemma4", "gemma4_unified", "text"]
"""The class of transformers that a PEFT adapter is for, as far as its modules' names differ."""


def layout_of(config: Gemma4Config) -> Layout:
    if config.placeholders is None:
        return "text"
    return "gemma4_unified" if config.unified else "gemma4"


Form = Literal["peft", "mlx-lm"]
"""Who reads the files, beside g4."""
FILES: Mapping[Form, str] = {"peft": PEFT_WEIGHTS, "mlx-lm": MLX_WEIGHTS}
_EXPERTS = re.compile(
    r"(?P<layer>.+)\.switch_glu\.(?P<matrix>gate|up|down)_proj\.lora_(?P<part>a|b)"
)
_LAYER = re.compile(r"(?:language_model\.)?model\.layers\.\d+\.(?P<key>.+)\.lora_[ab]")


def form_of(word: str) -> Form:
    """The form that a person names. Raises OptionError."""
    for form in FILES:
        if word == form:
            return form
    raise OptionError(f"--layout {word}: use one of {', '.join(FILES)}")


def require_form(form: Form, paths: Iterable[str]) -> None:
    """Raise OptionError for layers that an adapter of that form cannot have."""
    if form == "mlx-lm" and any(not each.startswith("language_model.") for each in paths):
        raise OptionError(
            "--layout mlx-lm: mlx-lm has the language model alone: leave projections, vision and "
            "audio out of --targets"
        )


def peft_name(name: str, layout: Layout) -> str:
    """The name in a PEFT file of a parameter of the network with an adapter.

    "language_model.model.layers.0.mlp.up_proj.lora_a"
    ->  "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight"
    """
    path, _, part = name.rpartition(".")
    if path.startswith("language_model.model."):
        inner = path.removeprefix("language_model.model.")
        path = f"model.{inner}" if layout == "text" else f"model.language_model.{inner}"
    elif path.startswith("embed_vision.") and layout == "gemma4_unified":
        path = f"model.embed_vision.multimodal_embedder.{path.removeprefix('embed_vision.')}"
    else:
        path = f"model.{path}"
    return f"base_model.model.{path}.{'lora_A' if part == 'lora_a' else 'lora_B'}.weight"


def write_adapter(
    folder: Path,
    parameters: Mapping[str, mx.array],
    options: LowRankOptions,
    *,
    base: str,
    layout: Layout,
    form: Form = "peft",
) -> None:
    """Write parameters of ``with_new_adapter``, by their names in the network. Raises OSError."""
    if form == "peft":
        tensors = dict(_peft_tensors(parameters, layout))
        config = _peft_config(tensors, options, base)
    else:
        prefix = "language_model." if layout == "text" else ""
        tensors = {name.removeprefix(prefix): each for name, each in parameters.items()}
        config = _mlx_config(tensors, options, base)
    save_tensors(folder / FILES[form], tensors, {"format": "pt" if form == "peft" else "mlx"})
    with whole_file(folder / CONFIG, mode=shared_mode()) as file:
        file.write(json.dumps(config, indent=2).encode() + b"\n")
    for other, name in FILES.items():
        if other != form:
            (folder / name).unlink(missing_ok=True)


def read_parameters(
    folder: Path, names: Iterable[str], options: LowRankOptions, layout: Layout
) -> dict[str, mx.array]:
    """What ``write_adapter`` wrote, in either form, by the names in the network.

    Raises TuningError for a file that is damaged, or of other layers.
    """
    is_peft = (folder / PEFT_WEIGHTS).exists()
    path = folder / (PEFT_WEIGHTS if is_peft else MLX_WEIGHTS)
    try:
        tensors, _ = load_tensors(path)
        if is_peft:
            return {name: _of_peft(name, tensors, options.rank, layout) for name in names}
        prefix = "language_model." if layout == "text" else ""
        return {name: tensors[name.removeprefix(prefix)] for name in names}
    except (RuntimeError, ValueError, KeyError) as exc:
        raise TuningError(f"{path}: cannot be read ({exc}): begin again with --restart") from exc


def _peft_tensors(
    parameters: Mapping[str, mx.array], layout: Layout
) -> Iterator[tuple[str, mx.array]]:
    """PEFT's tensors. It has one matrix for gates and ups, of twice the rank, which both share."""
    fused: dict[str, dict[str, mx.array]] = {}
    for name, value in parameters.items():
        if found := _EXPERTS.fullmatch(name):
            fused.setdefault(found["layer"], {})[f"{found['matrix']}_{found['part']}"] = value
        else:
            yield peft_name(name, layout), mx.contiguous(value.T)
    for path, parts in fused.items():
        gate, up = parts["gate_b"], parts["up_b"]
        a = mx.concatenate([parts["gate_a"], parts["up_a"]], axis=1)
        nothing = mx.zeros_like(gate)
        b = mx.concatenate(
            [mx.concatenate([gate, nothing], axis=2), mx.concatenate([nothing, up], axis=2)], axis=1
        )
        for wrapped, matrices in (
            (".base_layer", (a, b)),
            ("", (parts["down_a"], parts["down_b"])),
        ):
            for part, value in zip("ab", matrices, strict=True):
                yield peft_name(f"{path}{wrapped}.lora_{part}", layout), _flat(part, value)


def _flat(part: str, value: mx.array) -> mx.array:
    """``a`` ``[E, r, K]`` as PEFT's ``[E r, K]``, ``b`` ``[E, N, r]`` as its ``[N, r E]``."""
    if part == "a":
        return value.reshape(-1, value.shape[-1])
    return mx.contiguous(value.transpose(1, 2, 0)).reshape(value.shape[1], -1)


def _of_peft(name: str, tensors: Mapping[str, mx.array], rank: int, layout: Layout) -> mx.array:
    found = _EXPERTS.fullmatch(name)
    if found is None:
        return tensors[peft_name(name, layout)].T
    wrapped = "" if found["matrix"] == "down" else ".base_layer"
    a, b = (tensors[peft_name(f"{found['layer']}{wrapped}.lora_{part}", layout)] for part in "ab")
    count = a.shape[0] // (2 * rank if wrapped else rank)
    half = 1 if found["matrix"] == "up" else 0
    if found["part"] == "a":
        value = a.reshape(count, -1, a.shape[-1])
        return value if not wrapped else mx.split(value, 2, axis=1)[half]
    value = b.reshape(b.shape[0], -1, count).transpose(2, 0, 1)
    return value if not wrapped else mx.split(mx.split(value, 2, axis=1)[half], 2, axis=2)[half]


def _peft_config(
    tensors: Mapping[str, mx.array], options: LowRankOptions, base: str
) -> dict[str, Any]:
    modules = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    experts = {each for each in modules if re.search(r"\.experts(\.base_layer)?$", each)}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "target_modules": sorted(modules - experts),
    }
    if experts:
        gates = "experts.gate_up_proj"
        config |= {
            "target_parameters": [gates, "experts.down_proj"],
            "rank_pattern": {gates: 2 * options.rank},
            "alpha_pattern": {gates: 2 * options.alpha},
        }
    return config


def _mlx_config(tensors: Iterable[str], options: LowRankOptions, base: str) -> dict[str, Any]:
    found = [each for name in tensors if (each := _LAYER.fullmatch(name))]
    return {
        "model": base,
        "fine_tune_type": "lora",
        "num_layers": -1,
        "lora_parameters": {
            "rank": options.rank,
            "scale": options.alpha / options.rank,
            "dropout": 0.0,
            "keys": sorted({each["key"] for each in found}),
        },
    }


def save_tensors(path: Path, tensors: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """A safetensors file that gets its name when it is complete. Raises OSError."""
    with whole_file(path, mode=shared_mode()) as file:
        mx.save_safetensors(file, dict(tensors), dict(metadata))


def load_tensors(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors of a file and its metadata. Raises RuntimeError or ValueError."""
    loaded = mx.load(str(path), return_metadata=True)
    return cast("tuple[dict[str, mx.array], dict[str, str]]", loaded)
