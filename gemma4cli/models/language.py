"""The language model: per-layer embeddings, shared keys and values, prefill without logits.

The decoder layers and their caches are mlx-lm's, the layers in fewer operations. Media enter only
as embeddings and masks.
Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn

from .attention import FullAttention, FullCache, KeysValues, QuantizedKVCache
from .batch_cache import BatchCache, BatchLayerCache
from .caches import Checkpoint, checkpoint_of, newest_keys_values, resume, rewind
from .masks import NO_MASKS, Masks
from .mlx_lm_parts import KVCache, ModelArgs, RotatingKVCache, RowCache
from .shares import Share
from .text_config import Rope, TextConfig
from .text_layer import TextLayer

Cache: TypeAlias = RowCache | BatchLayerCache


def _layer_args(config: TextConfig) -> ModelArgs:
    """mlx-lm's arguments. All are set explicitly: its defaults fit one checkpoint only."""

    def rope(value: Rope, kind: str) -> dict[str, object]:
        return {
            "rope_type": kind,
            "rope_theta": value.theta,
            "partial_rotary_factor": value.partial_factor,
        }

    moe = config.moe
    return ModelArgs(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        intermediate_size=config.intermediate_size,
        num_attention_heads=config.num_heads,
        head_dim=config.head_dim,
        global_head_dim=config.global_head_dim,
        global_partial_rotary_factor=config.rope_full.partial_factor,
        rms_norm_eps=config.rms_norm_eps,
        vocab_size=config.vocab_size,
        vocab_size_per_layer_input=config.ple_vocab_size,
        num_key_value_heads=config.num_kv_heads,
        num_global_key_value_heads=config.num_global_kv_heads,
        num_kv_shared_layers=config.num_kv_shared_layers,
        pad_token_id=config.pad_token_id,
        hidden_size_per_layer_input=config.ple_size,
        rope_traditional=False,
        rope_parameters={
            "sliding_attention": rope(config.rope_sliding, "default"),
            "full_attention": rope(config.rope_full, "proportional"),
        },
        sliding_window=config.sliding_window,
        max_position_embeddings=config.max_positions,
        attention_k_eq_v=config.k_eq_v,
        final_logit_softcapping=config.logit_softcap,
        use_double_wide_mlp=config.double_wide_mlp,
        enable_moe_block=moe is not None,
        num_experts=moe.num_experts if moe else None,
        top_k_experts=moe.top_k if moe else None,
        moe_intermediate_size=moe.intermediate_size if moe else None,
        layer_types=list(config.layer_types),
        tie_word_embeddings=config.tied_embeddings,
    )


@partial(mx.compile, shapeless=True)
def _finished(logits: mx.array, cap: float | None, bias: mx.array | None) -> mx.array:
    wide = logits.astype(mx.float32)
    capped = wide if cap is None else mx.tanh(wide / cap) * cap
    kept = mx.where(mx.isinf(wide), mx.nan, capped)
    return kept if bias is None else kept + bias


def _rows(config: TextConfig, share: Share | None) -> int:
    """Tokens that the embeddings and the head have rows for."""
    first, last = (0, config.vocab_size) if share is None else share.rows
    return last - first


class TextModel(nn.Module):
    """Embeddings, decoder layers and the final norm; of one process's ``share``, if there are more.

    ``config`` is that of the whole.
    """

    def __init__(self, config: TextConfig, share: Share | None = None) -> None:
        super().__init__()
        self.config = config
        args = {
            kind: _layer_args(config if share is None else share.layer_config(kind))
            for kind in set(config.layer_types)
        }
        self.embed_tokens = nn.Embedding(_rows(config, share), config.hidden_size)
        self.layers = [TextLayer(args[kind], i) for i, kind in enumerate(config.layer_types)]
        for i, kind in enumerate(config.layer_types):
            if kind == "full_attention":
                self.layers[i].self_attn = FullAttention(args[kind], i)
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if config.ple_size:
            width = config.num_layers * config.ple_size
            first, last = (0, config.ple_vocab_size) if share is None else share.rows_per_layer
            self.embed_tokens_per_layer = nn.Embedding(last - first, width)
            self.per_layer_model_projection = nn.Linear(config.hidden_size, width, bias=False)
            self.per_layer_projection_norm = nn.RMSNorm(config.ple_size, eps=config.rms_norm_eps)

    def embed(self, ids: mx.array) -> mx.array:
        """Scaled embeddings ``[B, L, D]`` of ``ids`` ``[B, L]``; the scale is in their dtype."""
        return self._rows(self.embed_tokens, ids) * self.config.hidden_size**0.5

    def per_layer_inputs(self, ids: mx.array, embeddings: mx.array) -> mx.array | None:
        """Per-layer embeddings ``[B, L, layers, P]``, or None for models without them.

        At soft tokens ``ids`` holds the pad id, while the projection reads the soft tokens
        themselves. Source: project_per_layer_inputs in transformers.
        """
        config = self.config
        if not config.ple_size:
            return None
        rows = self._scaled_rows(self.embed_tokens_per_layer, ids, config.ple_size**0.5)
        return self._mixed(rows, embeddings)

    def _scaled_rows(self, table: nn.Embedding, ids: mx.array, scale: float) -> mx.array:
        return self._rows(table, ids) * scale

    def _mixed(self, rows: mx.array, embeddings: mx.array) -> mx.array:
        """Per-layer inputs from the scaled rows of the tokens and their embeddings."""
        config = self.config
        shape = (*embeddings.shape[:2], config.num_layers, config.ple_size)
        projected = self.per_layer_model_projection(embeddings) * config.hidden_size**-0.5
        normed = self.per_layer_projection_norm(projected.reshape(shape))
        return (normed + rows.reshape(shape)) * 2.0**-0.5

    def _rows(self, table: nn.Embedding, ids: mx.array) -> mx.array:
        """Rows of an embedding table, in the dtype that the model computes in.

        Without the cast, tables in mxfp4, mxfp8 and nvfp4 give bfloat16.
        """
        return table(ids).astype(self.norm.weight.dtype)

    def __call__(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> mx.array:
        """Run new tokens ``[B, L, D]`` through all layers, extending ``cache``.

        Returns the normalized hidden states ``[B, L, D]``.
        """
        count = self.config.num_layers
        return self.norm(self._through(count, embeddings, per_layer_inputs, cache, masks))

    def fill(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> None:
        """Extend ``cache`` by prompt tokens whose logits are not needed.

        Layers that reuse keys and values do not change the cache, so they are skipped.
        """
        count = self.config.num_stored_layers
        self._through(count, embeddings, per_layer_inputs, cache, masks)

    def _through(
        self,
        count: int,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> mx.array:
        """The hidden states ``[B, L, D]`` after the first ``count`` layers."""
        config = self.config
        hidden = embeddings
        views = self._views(masks, cache[0].offset, embeddings.shape[1])
        by_layer = None if per_layer_inputs is None else self._by_layer(per_layer_inputs)
        newest: dict[str, Any] = {}
        stored_layers = config.num_stored_layers
        for i, layer in enumerate(self.layers[:count]):
            kind = config.layer_types[i]
            stored = i < stored_layers
            hidden, newest[kind] = self._run(
                layer,
                hidden,
                views[kind],
                cache[i] if stored else None,
                None if stored else newest[kind],
                None if by_layer is None else by_layer[i],
            )
        return hidden

    def reuse(
        self, hidden: mx.array, keys_values: Mapping[str, KeysValues], position: int
    ) -> mx.array:
        """Run one token ``[1, 1, D]`` at ``position`` through layers that store no keys and values.

        ``keys_values`` holds, for each layer type, those of another network, which the token sees
        all. Returns the normalized hidden state ``[1, 1, D]``.
        """
        views = self._views(NO_MASKS, position, 1)
        shared = {kind: self._reusable(each, position) for kind, each in keys_values.items()}
        for layer, kind in zip(self.layers, self.config.layer_types, strict=True):
            hidden, _ = self._run(layer, hidden, views[kind], None, shared[kind], None)
        return self.norm(hidden)

    def _reusable(self, keys_values: KeysValues, position: int) -> Any:
        """``keys_values`` in the form in which ``_run`` returns and takes them."""
        return keys_values, mx.array(position)

    def _by_layer(self, per_layer_inputs: mx.array) -> Sequence[mx.array]:
        """Per-layer embeddings ``[B, L, layers, P]`` as an array ``[B, L, P]`` for each layer."""
        return [per_layer_inputs[:, :, i] for i in range(self.config.num_layers)]

    def _views(self, masks: Masks, offset: int | mx.array, length: int) -> dict[str, Any]:
        """What the layers of each type need to know about ``length`` tokens from ``offset`` on.

        ``offset`` is ``[B]`` for the rows of a batch.
        """
        return {kind: masks.of(kind) for kind in set(self.config.layer_types)}

    def _run(
        self,
        layer: nn.Module,
        hidden: mx.array,
        view: Any,
        cache: Cache | None,
        shared: Any,
        per_layer_input: mx.array | None,
    ) -> tuple[mx.array, Any]:
        """One layer; returns its output and what layers that reuse its keys and values need.

        ``shared`` is that of an earlier layer, for a layer without a ``cache``.
        """
        shared_kv, offset = shared or (None, None)
        hidden, keys_values, offset = layer(
            hidden,
            view,
            cache,
            per_layer_input=per_layer_input,
            shared_kv=shared_kv,
            offset=offset,
        )
        return hidden, (keys_values, offset)


class LanguageModel(nn.Module):
    """The text model and its vocabulary projection.

    ``kv_bits`` is the size of keys and values in the caches of full-attention layers, if those are
    quantized. ``is_divided`` is whether other processes hold parts of it.
    """

    is_divided = False

    def __init__(self, config: TextConfig, share: Share | None = None) -> None:
        super().__init__()
        self.config = config
        self.kv_bits: int | None = None
        self.model = TextModel(config, share)
        if not config.tied_embeddings:
            # A table, since a drafter reads rows of it.
            self.lm_head = nn.Embedding(_rows(config, share), config.hidden_size)

    @property
    def sizes(self) -> TextConfig:
        """The config with the sizes that this process's memory depends on."""
        return self.config

    @property
    def _head(self) -> nn.Module:
        return self.model.embed_tokens if self.config.tied_embeddings else self.lm_head

    def logits(self, hidden: mx.array, bias: mx.array | None = None) -> mx.array:
        """Soft-capped float32 logits ``[B, L, V]`` of normalized hidden states ``[B, L, D]``.

        Infinite logits become NaN, because the cap would hide them. ``bias`` ``[V]`` is added at
        the end.
        """
        return self._finished(self._scores(hidden), self.config.logit_softcap, bias)

    def _scores(self, hidden: mx.array) -> mx.array:
        """The head's output ``[B, L, V]``."""
        return self._head.as_linear(hidden)

    def some_logits(self, hidden: mx.array, ids: mx.array) -> mx.array:
        """Float32 logits ``[n]`` of the tokens ``ids`` ``[n]``, for ``hidden`` ``[1, 1, D]``.

        Without the cap, which changes no order.
        """
        rows = self._head(ids)
        return (rows @ hidden.reshape(-1).astype(rows.dtype)).astype(mx.float32)

    def _finished(self, logits: mx.array, cap: float | None, bias: mx.array | None) -> mx.array:
        """What ``logits`` makes of the head's output."""
        return _finished(logits, cap, bias)

    def make_cache(self) -> list[RowCache]:
        """An empty cache for each layer that computes its own keys and values."""
        config = self.config
        return [
            self._full_cache()
            if kind == "full_attention"
            else RotatingKVCache(config.sliding_window)
            for kind in config.layer_types[: config.num_stored_layers]
        ]

    def _full_cache(self) -> FullCache:
        return FullCache() if self.kv_bits is None else QuantizedKVCache(self.kv_bits)

    def checkpoint(self, cache: Sequence[RowCache]) -> Checkpoint:
        """What a cache needs in order to continue from its present position."""
        return checkpoint_of(cache)

    def rewind(self, cache: Sequence[RowCache], count: int) -> None:
        """Forget the newest ``count`` tokens of a cache; see ``caches.rewind``."""
        rewind(cache, count)

    def newest_keys_values(self, cache: Sequence[RowCache]) -> dict[str, KeysValues]:
        """Of all heads, those of the last caching layer of each type, as a drafter reads them."""
        return newest_keys_values(cache, self.config.layer_types)

    def resumed_cache(
        self, full_layers: Sequence[KVCache | None], checkpoint: Checkpoint
    ) -> list[RowCache]:
        """A cache that continues from a checkpoint; ``full_layers`` hold as much or more."""
        cache = self.make_cache()
        resume(cache, full_layers, checkpoint)
        return cache

    def make_batch_cache(self) -> BatchCache:
        """An empty cache for several rows, with no rows yet."""
        config = self.config
        kinds = config.layer_types[: config.num_stored_layers]
        return BatchCache(kinds, config.sliding_window)
