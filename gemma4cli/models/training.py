"""The network as training runs it: padded rows at once, without a cache, with gradients.

Rows are padded at their ends. All attention is causal but for image blocks, so no token of a row
sees its padding, and rows give the gradients that they give alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from .adapters import twin_of
from .gemma4 import Gemma4, SoftTokens
from .language import LanguageModel
from .masks import RowMasks, make_masks
from .text_layer import TextLayer

_LOGIT_ROWS = 256
_NATIVE_LOGIT_ROWS = 64
"""Positions whose logits are in memory at once: the vocabulary is large.

On the native part's kernels few are as fast as many."""


_LANGUAGE = "language_model"
_ROWS_ONLY = "embed_tokens_per_layer.weight"


class Uncached:
    """Stands in for the cache of a layer in a run that keeps nothing."""

    offset = 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values


def hidden_states(
    network: Gemma4,
    ids: mx.array,
    soft_tokens: Sequence[Sequence[SoftTokens]],
    blocks: Sequence[Sequence[int]] | None = None,
    *,
    blocks_on_full_layers: bool = False,
) -> mx.array:
    """Normalized hidden states ``[B, L, D]`` of rows of ids ``[B, L]``, padded at their ends.

    ``soft_tokens`` and ``blocks`` are by row: what replaces placeholders, and the image block of
    each position or -1, as ``make_masks`` takes them.
    """
    text = network.language_model.model
    rows, length = ids.shape
    inputs = network.embed_rows(ids, soft_tokens, [0] * rows)
    masks = RowMasks.of_rows(
        [
            make_masks(
                length=length,
                offset=0,
                window=text.config.sliding_window,
                blocks=None if blocks is None else blocks[row],
                blocks_on_full_layers=blocks_on_full_layers,
            )
            for row in range(1 if blocks is None else rows)
        ]
    )
    caches: Any = [Uncached()] * text.config.num_stored_layers
    return text(*inputs, caches, masks)


def summed_losses(
    model: LanguageModel, hidden: mx.array, targets: mx.array, *, recompute: bool = True
) -> mx.array:
    """The sum of the cross entropies of ``targets`` ``[n]`` after hidden states ``[n, D]``.

    In float32. With ``recompute``, a gradient computes the logits of some positions at a time
    again, so that no more are ever in memory.
    """

    total = mx.array(0.0)
    step = _LOGIT_ROWS if type(model) is LanguageModel else _NATIVE_LOGIT_ROWS
    for start in range(0, hidden.shape[0], step):
        end = start + step
        losses = partial(_summed_losses, model, targets[start:end])
        total = total + (mx.checkpoint(losses) if recompute else losses)(hidden[start:end])
    return total


def _summed_losses(model: LanguageModel, targets: mx.array, hidden: mx.array) -> mx.array:
    logits = model.logits(hidden[None])[0]
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return (mx.logsumexp(logits, axis=-1) - chosen).sum()


class RecomputedLayer(TextLayer):
    """A layer whose inner values are computed again for its gradient instead of being kept."""

    def __call__(
        self,
        x: mx.array,
        mask: mx.array | str | None = None,
        cache: Any = None,
        per_layer_input: mx.array | None = None,
        shared_kv: Any = None,
        offset: Any = None,
    ) -> tuple[mx.array, Any, Any]:
        def run(
            parameters: dict[str, Any], x: mx.array, per_layer: mx.array | None, shared: Any
        ) -> Any:
            self.update(parameters)
            hidden, keys_values, _ = super(RecomputedLayer, self).__call__(
                x, mask, cache, per_layer, shared, offset
            )
            return hidden, keys_values

        hidden, keys_values = mx.checkpoint(run)(
            self.trainable_parameters(), x, per_layer_input, shared_kv
        )
        return hidden, keys_values, 0


def recompute_layers(network: Gemma4) -> None:
    """Let the decoder layers of a network that is trained recompute their inner values."""
    if is_native(network):
        from .native_training import recompute_native_layers

        recompute_native_layers(network.language_model)
        return
    for layer in network.language_model.model.layers:
        if type(layer) is TextLayer:
            layer.__class__ = RecomputedLayer


def with_gradients(network: Gemma4, *, towers: bool) -> Gemma4:
    """``network`` on layers that have gradients, in the type that it computes in; it stays too.

    Without ``towers`` they are shared. What is on the native part's kernels stays there. The table
    of per-layer embeddings, of which rows are read, stays in the type of its file.
    """
    twin = cast(Gemma4, twin_of(network))
    if not towers:
        dict.update(twin, {name: each for name, each in network.items() if name != _LANGUAGE})
    dtype = network.language_model.model.norm.weight.dtype
    if not is_native(network):
        _widen(twin if towers else twin.language_model, dtype)
        return twin
    # Without the native part, they cannot be imported.
    from .native_tower_training import use_tower_gradients
    from .native_training import use_gradients

    use_gradients(twin.language_model)
    for name, part in twin.children().items():
        if towers and name != _LANGUAGE:
            use_tower_gradients(part)
    return twin


def use_fast_additions(network: Gemma4) -> None:
    """Let additions that are trained take the native part's kernels, where their layers do."""
    if is_native(network):
        from .native_training import use_native_products

        for module in network.modules():
            use_native_products(module)


def is_native(network: Gemma4) -> bool:
    """Whether the language model is on the native part's kernels."""
    return type(network.language_model) is not LanguageModel


def _widen(part: nn.Module, dtype: mx.Dtype) -> None:
    """Convert what is floating to the type that is computed in."""
    part.update(
        tree_unflatten(
            [
                (name, value.astype(dtype))
                for name, value in parameters_of(part)
                if mx.issubdtype(value.dtype, mx.floating) and _ROWS_ONLY not in name
            ]
        )
    )


def parameters_of(network: nn.Module) -> list[tuple[str, mx.array]]:
    """All arrays of a network with their names."""
    return cast("list[tuple[str, mx.array]]", tree_flatten(network.parameters()))
