"""Names of tensors: the layouts of published and of merged checkpoints to that of MLX.

Knows names only, so that headers can be read without mlx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import CheckpointError

HEAD = "language_model.lm_head."
EMBEDDINGS = "language_model.model.embed_tokens."

_TOWERS = ("vision_tower", "audio_tower", "vision_embedder", "embed_vision", "embed_audio")
_AROUND_A_DRAFTER = ("pre_projection", "post_projection", "masked_embedding")
_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Modules that PyTorch puts around others for compiling, sharding and saving memory."""
_SHARED_PREFIXES = ("base_model.model.", "module.")
"""PEFT's and DistributedDataParallel's modules around the whole model."""
_ADAPTER = re.compile(
    r"(^|\.)(lora_|dora_|hada_w|lokr_w|ia3_|vera_|oft_|boft_|bone_|adalora_|trainable_tokens_"
    r"|modules_to_save\.|prompt_encoder\.|prompt_embeddings\.)"
)
_INSIDE_TRANSFORMERS = (
    (re.compile(r"^embed_vision\.(?=patch_|pos_)"), "vision_embedder."),
    (re.compile(r"^embed_vision\.multimodal_embedder\."), "embed_vision."),
)
"""The 12B's modules in transformers, where they are called otherwise than in checkpoints."""
_LEFTOVERS = re.compile(
    r"(^|\.)(rotary_emb\.\w*inv_freq|position_ids|embed_scale"
    r"|activation_post_process\..+|(weight_)?fake_quant\..+"
    r"|\w+_quantizer\.(_amax|_pre_quant_scale_amax)"
    r")$"
)
"""Constants that the config implies, and value ranges that a quantizer noted while training."""


def canonical_name(name: str) -> str:
    """The name of a tensor or module in MLX's layout.

    "model.language_model.layers.0.…" (Google), "model.layers.0.…" (mlx-lm's text-only) and
    "language_model.model.layers.0.…" (mlx-vlm) all become the last, and each spelling of
    "lm_head.…" becomes "language_model.lm_head.…".
    """
    bare = _WRAPPERS.sub(r"\1", name).replace(".base_layer.", ".")
    inner = bare
    while inner.startswith(("model.", "language_model.")):
        inner = inner.partition(".")[2]
    if inner.startswith((*_TOWERS, *_AROUND_A_DRAFTER)):
        for pattern, name in _INSIDE_TRANSFORMERS:
            inner = pattern.sub(name, inner)
        return inner
    if inner == bare or inner.partition(".")[0] == "lm_head":
        return f"language_model.{inner}"
    return f"language_model.model.{inner}"


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Each name of a checkpoint to its canonical name, without the leftovers of training tools.

    A module around the whole model is recognized by a prefix that all tensors have in common.
    Raises CheckpointError for tensors of an adapter that is not merged, and for two names of one
    tensor.
    """
    bare = {name: _WRAPPERS.sub(r"\1", name) for name in names}
    while prefix := _shared_prefix(bare.values()):
        bare = {name: inner.removeprefix(prefix) for name, inner in bare.items()}
    _refuse_adapter(bare.values())
    result: dict[str, str] = {}
    origins: dict[str, str] = {}
    for name, inner in bare.items():
        canonical = canonical_name(inner)
        if _LEFTOVERS.search(canonical):
            continue
        if canonical in origins:
            raise CheckpointError(
                "model.safetensors",
                f"{origins[canonical]} and {name} are two names of the same tensor: "
                "delete the one that was not trained",
            )
        origins[canonical] = name
        result[name] = canonical
    return result


def _shared_prefix(names: Iterable[str]) -> str | None:
    names = list(names)
    return next(
        (
            prefix
            for prefix in _SHARED_PREFIXES
            if names and all(name.startswith(prefix) for name in names)
        ),
        None,
    )


def adapter_tensors(names: Iterable[str]) -> list[str]:
    """The names of those tensors that belong to an adapter, sorted."""
    return sorted(name for name in names if _ADAPTER.search(name))


def _refuse_adapter(names: Iterable[str]) -> None:
    if found := adapter_tensors(names):
        count = "1 adapter tensor" if len(found) == 1 else f"{len(found)} adapter tensors"
        raise CheckpointError(
            "model.safetensors",
            f"has {count} not merged into the weights (first: {found[0]}): merge "
            "with peft's merge_and_unload() or mlx_lm.fuse, and use the merged folder",
        )
