"""The language model as training runs it on the native part's kernels, which have gradients.

Import only where the native part is in use. Frozen matrices are read as they are stored, in both
directions. Steps that compute several products at once have no gradients and are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .attention import KeysValues
from .language import Cache, LanguageModel
from .low_rank import LowRankLinear, LowRankSwitchLinear
from .masks import Masks, RowMasks
from .native_layers import NativeLinear, matrix, norm
from .native_text import NativeDecoderLayer, NativeTextModel, View


class LearnedLinear(LowRankLinear):
    """A layer of the native part with an addition that is trained, without magnitudes or a bias."""

    def __call__(self, x: mx.array) -> mx.array:
        inner = native.linear_by_columns(x, self.lora_a)
        added = native.linear_by_columns(inner, self.lora_b * self.scale)
        out: mx.array = self.linear(x) + added
        return out


class LearnedSwitchLinear(LowRankSwitchLinear):
    """The same for the matrices of experts; what is added takes MLX's operations."""

    def of_tokens(self, x: mx.array, chosen: mx.array) -> mx.array:
        """``x`` ``[T, K]`` or ``[T, k, K]`` and its experts ``[T, k]`` to ``[T, k, N]``."""
        rows = x[:, None, None] if x.ndim == 2 else x[:, :, None]
        added = self.low_rank(rows, chosen)[..., 0, :]
        out: mx.array = native.expert_linear(x, chosen, *matrix(self.linear)) + added
        return out


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowView(View):
    """A view of rows whose image blocks differ: ``mask`` ``[B, 1, L, L]`` in place of the rule."""

    mask: mx.array


class LearningTextModel(NativeTextModel):
    def _views(self, masks: Masks, offset: int | mx.array, length: int) -> dict[str, View]:
        views = super()._views(masks, offset, length)
        if not isinstance(masks, RowMasks):
            return views
        return {kind: _row_view(masks, kind, each) for kind, each in views.items()}


def _row_view(masks: RowMasks, kind: str, view: View) -> View:
    mask = masks.of(kind)
    if not isinstance(mask, mx.array):
        return view  # all rows are causal
    return RowView(rule=view.rule, rotation=view.rotation, mask=mask)


class LearningLayer(NativeDecoderLayer):
    def __call__(
        self,
        x: mx.array,
        view: View,
        cache: Cache | None,
        shared: Any,
        per_layer_input: mx.array | None,
    ) -> tuple[mx.array, KeysValues]:
        if cache is None:
            (queries,) = self._queries(x, view.rotation)
            keys, values = shared
        else:
            queries, keys, values = self._queries_keys_values(x, view.rotation)
        mask = view.mask if isinstance(view, RowView) else None
        rule = view.rule if mask is None else None
        attended = native.attention(queries, keys, values, self.self_attn.scale, rule, mask)
        per_layer = () if per_layer_input is None else (per_layer_input,)
        (hidden,) = self._after_attention(x, attended, *per_layer)
        return hidden, (keys, values)

    def _projected(self, x: mx.array, projections: Sequence[nn.Module]) -> list[mx.array]:
        normed = norm(self.input_layernorm, x)
        shape = (*x.shape[:2], -1, self.self_attn.head_dim)
        return [each(normed).reshape(shape) for each in projections]

    def _feed_forward(self, h: mx.array) -> mx.array:
        normed = norm(self.pre_feedforward_layernorm, h)
        mlp = self.mlp
        out: mx.array = mlp.down_proj(
            native.activate("gelu", mlp.gate_proj(normed), mlp.up_proj(normed))
        )
        return out


class RecomputedLearningLayer(LearningLayer):
    """A layer whose inner values are computed again for its gradient instead of being kept."""

    def __call__(
        self,
        x: mx.array,
        view: View,
        cache: Cache | None,
        shared: Any,
        per_layer_input: mx.array | None,
    ) -> tuple[mx.array, KeysValues]:
        def run(
            parameters: dict[str, Any], x: mx.array, per_layer: mx.array | None, shared: Any
        ) -> Any:
            self.update(parameters)
            return super(RecomputedLearningLayer, self).__call__(x, view, cache, shared, per_layer)

        found: tuple[mx.array, KeysValues] = mx.checkpoint(run)(
            self.trainable_parameters(), x, per_layer_input, shared
        )
        return found


def use_gradients(language_model: LanguageModel) -> None:
    """Change the layers of a language model on the native part to those that have gradients."""
    text = language_model.model
    text.__class__ = LearningTextModel
    for layer in text.layers:
        layer.__class__ = LearningLayer


def recompute_native_layers(language_model: LanguageModel) -> None:
    """Let the layers of ``use_gradients`` recompute their inner values."""
    for layer in language_model.model.layers:
        layer.__class__ = RecomputedLearningLayer


def use_native_products(layer: nn.Module) -> None:
    """Let an addition that is trained take the native part's kernels, if its layer does."""
    if type(layer) is LowRankLinear and isinstance(layer.linear, NativeLinear):
        layer.__class__ = LearnedLinear
    elif type(layer) is LowRankSwitchLinear:
        layer.__class__ = LearnedSwitchLinear
