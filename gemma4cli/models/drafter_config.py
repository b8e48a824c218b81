"""config.json of a drafter, the small network that guesses a model's next tokens.

Knows no mlx, so that drafters can be looked for before it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CheckpointError, UnsupportedModelError
from .config import Gemma4Config
from .config_values import Json, need, need_size
from .text_config import LayerType, TextConfig

_FILE = "config.json"
DRAFTERS = ("gemma4_assistant", "gemma4_unified_assistant")
"""The model types of drafters."""


def parse_config(raw: Json) -> Gemma4Config | DrafterConfig:
    """Parse the config.json of a model or a drafter; raises as their ``from_dict``."""
    if raw.get("model_type") in DRAFTERS:
        return DrafterConfig.from_dict(raw)
    return Gemma4Config.from_dict(raw)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """The vocabulary in ``count`` clusters of equal size; a step looks into ``chosen`` of them."""

    count: int
    chosen: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DrafterConfig:
    """The config of a drafter; ``model_size`` is the hidden size of its model."""

    text: TextConfig
    model_size: int
    clusters: ClusterConfig | None

    @classmethod
    def from_dict(cls, raw: Json) -> DrafterConfig:
        """Parse config.json.

        Raises UnsupportedModelError if it is not that of a drafter, and CheckpointError for a
        missing or invalid value.
        """
        kind = raw.get("model_type")
        if kind not in DRAFTERS:
            raise UnsupportedModelError(
                f"a checkpoint of type {kind!r} as a drafter",
                f"drafters for Gemma 4 are {' or '.join(DRAFTERS)}",
            )
        tied = need(raw, "tie_word_embeddings", bool, "")
        text = TextConfig.from_dict(
            need(raw, "text_config", Mapping, ""), tied=tied, stores_nothing=True
        )
        ordered = need(raw, "use_ordered_embeddings", bool, "")
        return cls(
            text=text,
            model_size=need_size(raw, "backbone_hidden_size", ""),
            clusters=_clusters(raw, text) if ordered else None,
        )

    def misfit(self, model: TextConfig) -> str | None:
        """Why this drafter cannot work for a model, or None if it can."""
        mine, theirs = _shapes(self.text), _shapes(model)
        if self.model_size != model.hidden_size:
            return f"is made for models of size {self.model_size}, not {model.hidden_size}"
        if self.text.vocab_size != model.vocab_size:
            return f"has a vocabulary of {self.text.vocab_size}, the model {model.vocab_size}"
        for kind, shape in mine.items():
            if shape != theirs.get(kind):
                return f"has {kind} layers for other keys and values than the model's"
        return None


def _clusters(raw: Json, text: TextConfig) -> ClusterConfig:
    count = need_size(raw, "num_centroids", "", most=text.vocab_size)
    if text.vocab_size % count:
        raise CheckpointError(
            _FILE, f"num_centroids, {count}, must divide the vocabulary of {text.vocab_size}"
        )
    return ClusterConfig(
        count=count, chosen=need_size(raw, "centroid_intermediate_top_k", "", most=count)
    )


def _shapes(text: TextConfig) -> dict[LayerType, tuple[int, int]]:
    """The number of key/value heads and their size, by layer type."""
    global_heads = text.num_global_kv_heads if text.k_eq_v else None
    shapes: dict[LayerType, tuple[int, int]] = {
        "sliding_attention": (text.num_kv_heads, text.head_dim),
        "full_attention": (global_heads or text.num_kv_heads, text.global_head_dim),
    }
    return {kind: shapes[kind] for kind in text.layer_types}
