"""What the two families of layouts say about the tensors of an adapter, by config and names.

Which layers an adapter changes follows from its tensors, so targets in the config are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

from ..checked_json import JsonError, number, shown, whole
from ..errors import AdapterError
from ..models.names import adapter_tensors, canonical_name
from .adapter_names import CONFIG
from .safetensors_headers import TensorHeaders
from .scale_patterns import ScalePatterns, value_for

Layout = Literal["PEFT", "mlx-lm", "mlx-vlm"]

_MOST_RANK = 1 << 16
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initial values of PEFT that subtract themselves from the base's weights."""
_UNKNOWN = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
"""What PEFT can do with a LoRA and g4 cannot, each off where the key is missing, null or false."""
_PEFT = re.compile(
    r"^(?P<module>.+)\.(?:lora_(?P<part>A|B)(?:\.\w+)?\.(?P<kind>weight|bias)"
    r"|lora_embedding_(?P<table>A|B)(?:\.\w+)?"
    r"|lora_(?P<magnitude>magnitude_vector)(?:\.\w+){0,2})$"
)
_MLX = re.compile(r"^(?P<module>.+)\.(?:lora_(?P<part>a|b)|(?P<old>A|B)|(?P<magnitude>m))$")
_TABLES = ("embed_tokens", "embed_tokens_per_layer")
_TRAINED_BEFORE_0_5 = ("embed_audio.", "embed_vision.")
"""Modules that mlx-vlm 0.4.3 and 0.4.4, the first ones with Gemma 4, did not freeze. Of audio
towers 0.5.0 left parts unfrozen, too."""
_SAVED = re.compile(r"\.modules_to_save(\.default)?\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A low-rank addition to the layer ``path``, or to a matrix of all experts in it.

    ``a``, ``b``, ``magnitude`` and ``bias`` are names of tensors in the file. ``down_scale`` is the
    scale if it turns out to be about the experts' down projection. ``of_table``: it is about an
    embedding's rows.
    """

    path: str
    a: str
    b: str
    scale: float
    down_scale: float
    magnitude: str | None = None
    bias: str | None = None
    of_table: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The additions, whole tensors by their names, and what the files do not say for certain."""

    parts: list[Part]
    whole: dict[str, str]
    doubt: str | None = None


@dataclass(slots=True)
class _Tensors:
    """The names of the tensors of one addition, as far as they were found."""

    a: str | None = None
    b: str | None = None
    magnitude: str | None = None
    bias: str | None = None
    of_table: bool = False


def read_peft(name: str, config: Mapping[str, Any], headers: TensorHeaders) -> Found:
    _require_plain_lora(name, config)
    scales = _PeftScales(config)
    found: dict[str, _Tensors] = {}
    saved: dict[str, str] = {}
    for tensor in sorted(headers):
        inner = tensor.removeprefix("base_model.model.")
        match = _PEFT.match(inner)
        if match is None:
            saved[tensor] = _saved(name, _SAVED.sub(".", inner), tensor)
            continue
        parts = found.setdefault(match["module"], _Tensors())
        side = match["part"] or match["table"]
        if match["magnitude"]:
            parts.magnitude = tensor
        elif match["kind"] == "bias":
            parts.bias = tensor if side == "B" else None
        elif side == "A":
            parts.a, parts.of_table = tensor, match["table"] is not None
        else:
            parts.b = tensor
    return Found(
        [_peft_part(name, module, each, scales, headers) for module, each in found.items()], saved
    )


def _require_plain_lora(name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise AdapterError(
            name,
            f"is of PEFT's type {shown(kind)}, and g4 reads LORA, with DoRA: merge it with "
            "merge_and_unload() of peft, and name the merged folder",
        )
    for key in _UNKNOWN:
        if config.get(key):
            raise AdapterError(
                name, f"{CONFIG} sets {key}, which g4 does not support: merge it with peft"
            )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_THE_BASE):
        raise AdapterError(
            name,
            f"was initialized with {shown(start)}, which changes the base's weights: save it with "
            "peft's path_initial_model_for_weight_conversion, or merge it with peft",
        )


class _PeftScales:
    """What PEFT multiplies the product by, for each module."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._rank = whole(config.get("r", 8), "r", most=_MOST_RANK)
        self._alpha = number(config.get("lora_alpha", 8), "lora_alpha", least=-1e30)
        self._by_root = config.get("use_rslora") or False
        if not isinstance(self._by_root, bool):
            raise JsonError(f"must be true or false, not {shown(self._by_root)}", "use_rslora")
        self._ranks = ScalePatterns.of(config.get("rank_pattern"), "rank_pattern")
        self._alphas = ScalePatterns.of(config.get("alpha_pattern"), "alpha_pattern")

    def rank(self, module: str) -> int:
        given = value_for(self._ranks, module, float(self._rank))
        return whole(int(given) if given == int(given) else given, "rank_pattern", most=_MOST_RANK)

    def scale(self, module: str) -> float:
        rank = self.rank(module)
        return value_for(self._alphas, module, self._alpha) / (
            sqrt(rank) if self._by_root else rank
        )


def _peft_part(
    name: str, module: str, found: _Tensors, scales: _PeftScales, headers: TensorHeaders
) -> Part:
    a, b = _both(name, module, found)
    bare = module.replace(".base_layer", "")
    is_experts = bare.endswith(".experts")
    keys = (f"{bare}.gate_up_proj", f"{bare}.down_proj") if is_experts else (bare, bare)
    rows = headers[a].shape[0] if headers[a].shape else 0
    ranks = {scales.rank(each) for each in keys}
    if not any(rows % each == 0 if is_experts else rows == each for each in ranks):
        raise AdapterError(
            name, f"{a} has the rank {rows}, and {CONFIG} says {', '.join(map(str, ranks))}"
        )
    return Part(
        path=canonical_name(bare),
        a=a,
        b=b,
        scale=scales.scale(keys[0]),
        down_scale=scales.scale(keys[1]),
        magnitude=found.magnitude,
        bias=found.bias,
        of_table=found.of_table,
    )


def _both(name: str, module: str, found: _Tensors) -> tuple[str, str]:
    if found.a is None or found.b is None:
        there = found.a or found.b or found.magnitude or found.bias
        raise AdapterError(name, f"{there} has no counterpart: the file is not whole, or damaged")
    return found.a, found.b


def read_mlx(name: str, config: Mapping[str, Any], headers: TensorHeaders, layout: Layout) -> Found:
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora", "full"):
        raise JsonError(f"must be lora, dora or full, not {shown(kind)}", "fine_tune_type")
    found: dict[str, _Tensors] = {}
    saved: dict[str, str] = {}
    for tensor in sorted(headers):
        match = _MLX.match(tensor) if kind != "full" else None
        if match is None:
            saved[tensor] = _saved(name, tensor, tensor)
            continue
        parts = found.setdefault(match["module"], _Tensors())
        if match["magnitude"]:
            parts.magnitude = tensor
        elif (match["part"] or match["old"]).lower() == "a":
            parts.a = tensor
        else:
            parts.b = tensor
    rank, scale, doubt = 0, 0.0, None
    if found and layout == "mlx-vlm":
        rank, scale, doubt = _vlm_scale(config, saved.values())
    elif found:
        rank, scale = _mlx_scale(config)
    parts_of = []
    for module, tensors in found.items():
        a, b = _both(name, module, tensors)
        axis = -2 if len(headers[a].shape) == 3 else -1
        if len(headers[a].shape) > 1 and headers[a].shape[axis] != rank:
            raise AdapterError(
                name, f"{a} has the rank {headers[a].shape[axis]}, and {CONFIG} says {rank}"
            )
        parts_of.append(
            Part(
                path=canonical_name(module),
                a=a,
                b=b,
                scale=scale,
                down_scale=scale,
                magnitude=tensors.magnitude,
                of_table=module.rpartition(".")[2] in _TABLES,
            )
        )
    return Found(parts_of, saved, doubt)


def _vlm_scale(config: Mapping[str, Any], names: Iterable[str]) -> tuple[int, float, str | None]:
    """Rank and scale of mlx-vlm's older layout, and what the files leave open about the scale.

    Up to mlx-vlm 0.4.4 the product counted alpha times, in 0.5.0 alpha / rank times. The config is
    the same, but the earlier ones trained, and saved, what is between the towers and the text.
    """
    rank = whole(config.get("rank"), "rank", most=_MOST_RANK)
    if "scale" in config:  # what this module's doubt asks for
        return rank, number(config["scale"], "scale", least=-1e30), None
    alpha = number(config.get("alpha", 0.1), "alpha", least=-1e30)
    if any(name.startswith(_TRAINED_BEFORE_0_5) for name in names):
        return rank, alpha, None
    scale = alpha / rank
    doubt = (
        f"its scale is taken for alpha / rank, {scale:g}, as mlx-vlm 0.5 and later have it; if it "
        f'was trained with 0.4.4 or earlier, add "scale": {alpha:g} to {CONFIG}'
    )
    return rank, scale, doubt if rank > 1 else None


def _mlx_scale(config: Mapping[str, Any]) -> tuple[int, float]:
    """Rank and scale, which are the same for all layers.

    There may be an "alpha" too, which mlx-lm does not use since 0.14, long before Gemma 4.
    """
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, Mapping):
        raise JsonError("must be an object", "lora_parameters")
    rank = whole(parameters.get("rank"), "lora_parameters.rank", most=_MOST_RANK)
    return rank, number(parameters.get("scale"), "lora_parameters.scale", least=-1e30)


def _saved(name: str, inner: str, tensor: str) -> str:
    """The model's name of a whole tensor. Raises AdapterError for one of another adapter kind."""
    if adapter_tensors([inner]):
        raise AdapterError(
            name, f"{tensor} is of a kind of adapter that g4 does not read: merge it with peft"
        )
    return canonical_name(inner)
