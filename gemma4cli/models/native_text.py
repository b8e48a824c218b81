"""The language model on the native part's kernels: the layers of mlx-lm in fewer, larger steps.

A step of decoding is hundreds of small operations; each that is saved is time. The residual is
added by the norm before it, and matrices with the same input are multiplied in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .attention import KeysValues
from .language import Cache, LanguageModel, TextModel
from .masks import Masks, Visibility
from .mixed_adapters import RowChoice
from .mlx_lm_parts import DecoderLayer
from .native_layers import move_to_large_pages, norm, scaled_rows
from .native_low_rank import expert_product, gated, products

Part: TypeAlias = Callable[..., list[mx.array]]
"""A part of a layer whose steps depend on nothing but the shapes of its inputs."""


Run: TypeAlias = Callable[..., list[mx.array]]
"""Computes a part with its inputs, recorded or not."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """Which keys the new tokens see, and the cosines and sines of their positions."""

    rule: Visibility
    rotation: mx.array


_MANY_STEPS = 64
"""Steps of decoding after which weights are moved to large pages, one layer a step.

Reading them there is up to a third faster, but moving them all takes as long as dozens of steps.
"""


class NativeTextModel(TextModel):
    def _mixed(self, rows: mx.array, embeddings: mx.array) -> mx.array:
        config = self.config
        shape = (*embeddings.shape[:2], config.num_layers, config.ple_size)
        projected = self.per_layer_model_projection(embeddings)
        # The projection's factor is hidden_size ** -0.5; a norm takes any factor out of its input,
        # but for epsilon.
        return native.rms_norm(
            projected.reshape(shape),
            self.per_layer_projection_norm.weight,
            config.rms_norm_eps * config.hidden_size,
            residual=rows.reshape(shape),
            scale=2.0**-0.5,
        )

    def _scaled_rows(self, table: nn.Module, ids: mx.array, scale: float) -> mx.array:
        return scaled_rows(table, ids, scale)

    def _by_layer(self, per_layer_inputs: mx.array) -> Sequence[mx.array]:
        return native.unstack(per_layer_inputs)

    def _through(
        self,
        count: int,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> mx.array:
        if embeddings.shape[1] <= _FEW_TOKENS:
            self._move_weights()
        return super()._through(count, embeddings, per_layer_inputs, cache, masks)

    def _move_weights(self) -> None:
        """Move the weights of one more layer to large pages, if there have been many steps.

        The head is moved first where it is the embedding; one of its own stays where it is.
        """
        steps = self["_steps"] = self.get("_steps", 0) + 1
        if steps == _MANY_STEPS and self.config.tied_embeddings:
            move_to_large_pages(self.embed_tokens)
        elif _MANY_STEPS < steps <= _MANY_STEPS + len(self.layers):
            self.layers[steps - _MANY_STEPS - 1].move_to_large_pages()

    def _reusable(self, keys_values: KeysValues, position: int) -> KeysValues:
        return keys_values

    def _views(self, masks: Masks, offset: int | mx.array, length: int) -> dict[str, View]:
        offsets = offset if isinstance(offset, mx.array) else mx.array([offset])
        return {
            kind: View(
                rule=masks.rule(kind), rotation=native.rope_table(offsets, length, wavelengths)
            )
            for kind, wavelengths in self._wavelengths().items()
        }

    def _wavelengths(self) -> dict[str, mx.array]:
        """Positions per radian ``[D/2]`` by layer type; where infinite, nothing rotates."""
        if "_by_kind" not in self:
            ropes = zip(self.config.layer_types, self.layers, strict=True)
            self["_by_kind"] = {kind: _wavelengths(layer.self_attn.rope) for kind, layer in ropes}
        return self["_by_kind"]

    def _run(
        self,
        layer: nn.Module,
        hidden: mx.array,
        view: View,
        cache: Cache | None,
        shared: Any,
        per_layer_input: mx.array | None,
    ) -> tuple[mx.array, KeysValues]:
        return layer(hidden, view, cache, shared, per_layer_input)


def _wavelengths(rope: nn.Module) -> mx.array:
    if "_freqs" in rope:
        return rope["_freqs"]
    return rope.base ** (mx.arange(0, rope.dims, 2, dtype=mx.float32) / rope.dims)


class Recordings:
    """Parts of a layer as single steps of MLX's graph.

    With few tokens, MLX needs as long for each step of a part as the step itself takes.
    """

    def __init__(self, choice: RowChoice | None = None) -> None:
        self._choice = choice
        self._recordings: dict[tuple[object, ...], native.Recording] = {}

    def run(self, part: Part, *inputs: mx.array) -> list[mx.array]:
        """``part(*inputs)``, recorded at the first call with inputs of these shapes."""
        numbers = () if self._choice is None else (self._choice.numbers,)
        key = part.__name__, *(x.shape for x in inputs)
        if key not in self._recordings:
            examples = [mx.zeros(x.shape, x.dtype) for x in (*inputs, *numbers)]
            mx.eval(examples)
            self._recordings[key] = native.Recording(
                examples, self._recorded(part, examples[: len(inputs)], examples[len(inputs) :])
            )
        return self._recordings[key]((*inputs, *numbers))

    def _recorded(
        self, part: Part, inputs: Sequence[mx.array], numbers: Sequence[mx.array]
    ) -> list[mx.array]:
        if self._choice is None:
            return part(*inputs)
        with self._choice.being(*numbers):
            return part(*inputs)


def _directly(part: Part, *inputs: mx.array) -> list[mx.array]:
    return part(*inputs)


_FEW_TOKENS = 9
"""Tokens at once for which a layer's parts are recorded: a step of decoding, with guesses."""


class NativeDecoderLayer(DecoderLayer):
    _recordings: Recordings | None = None
    choice: RowChoice | None = None

    def __call__(
        self,
        x: mx.array,
        view: View,
        cache: Cache | None,
        shared: Any,
        per_layer_input: mx.array | None,
    ) -> tuple[mx.array, KeysValues]:
        """``x`` ``[B, L, D]``; returns the hidden states and the keys and values that were used."""
        is_recorded = x.shape[1] <= _FEW_TOKENS and self._is_native()
        run: Run = self._recorded if is_recorded else _directly
        if cache is None:
            (queries,) = run(self._queries, x, view.rotation)
            keys, values = shared
        else:
            queries, *new = run(self._queries_keys_values, x, view.rotation)
            keys, values = cache.update_and_fetch(*new)
        attended = native.attention(queries, keys, values, self.self_attn.scale, view.rule)
        per_layer = () if per_layer_input is None else (per_layer_input,)
        return self._rest(run, x, attended, *per_layer), (keys, values)

    def _rest(self, run: Run, x: mx.array, attended: mx.array, *per_layer: mx.array) -> mx.array:
        """The layer's output, after attention."""
        (hidden,) = run(self._after_attention, x, attended, *per_layer)
        return hidden

    def _recorded(self, part: Part, *inputs: mx.array) -> list[mx.array]:
        if self._recordings is None:
            self._recordings = Recordings(self.choice)
        return self._recordings.run(part, *inputs)

    def move_to_large_pages(self) -> None:
        """Move the layer's weights from their file to large pages, when they are next used."""
        move_to_large_pages(self)
        self._recordings = None  # they have the weights of before

    def _is_native(self) -> bool:
        """Whether its parts have no steps of MLX, which cannot be recorded."""
        return not self.enable_moe

    def _scalar(self) -> float:
        """The factor of the layer's output, read once."""
        if "_factor" not in self:
            self["_factor"] = self.layer_scalar.item()
        return self["_factor"]

    def _queries(self, x: mx.array, rotation: mx.array) -> list[mx.array]:
        attn = self.self_attn
        (q,) = self._projected(x, [attn.q_proj])
        return [native.rotate(q, attn.q_norm.weight, attn.q_norm.eps, rotation)]

    def _queries_keys_values(self, x: mx.array, rotation: mx.array) -> list[mx.array]:
        attn = self.self_attn
        projections = [attn.q_proj, attn.k_proj, *(() if attn.use_k_eq_v else (attn.v_proj,))]
        q, k, *v = self._projected(x, projections)
        return [
            native.rotate(q, attn.q_norm.weight, attn.q_norm.eps, rotation),
            native.rotate(k, attn.k_norm.weight, attn.k_norm.eps, rotation),
            native.rotate(v[0] if v else k, None, attn.v_norm.eps),
        ]

    def _projected(self, x: mx.array, projections: Sequence[nn.Module]) -> list[mx.array]:
        """Projections of the normalized ``x`` by head, ``[B, L, H, D]``."""
        normed = norm(self.input_layernorm, x)
        projected = products(normed, projections)
        shape = (*x.shape[:2], -1, self.self_attn.head_dim)
        return [each.reshape(shape) for each in projected]

    def _after_attention(
        self, x: mx.array, attended: mx.array, *per_layer: mx.array
    ) -> list[mx.array]:
        h, *fed = self._fed(x, self.self_attn.o_proj(attended))
        return self._ended(h, *fed, *per_layer)

    def _fed(self, x: mx.array, projected: mx.array) -> list[mx.array]:
        """The hidden states with attention, and what MLPs make of them: one, or also experts."""
        h = norm(self.post_attention_layernorm, projected, residual=x)
        dense = self._feed_forward(h)
        return [h, dense, self._experts(h)] if self.enable_moe else [h, dense]

    def _ended(self, h: mx.array, fed: mx.array, *rest: mx.array) -> list[mx.array]:
        """The layer's output from what ``_fed`` gives and, last, the layer's own input if any."""
        if self.enable_moe:
            dense = norm(self.post_feedforward_layernorm_1, fed)
            fed = norm(self.post_feedforward_layernorm_2, rest[0], residual=dense)
            rest = rest[1:]
        scale = self._scalar()
        last = 1.0 if rest else scale
        h = norm(self.post_feedforward_layernorm, fed, residual=h, scale=last)
        if rest:
            gate = self.per_layer_input_gate(h)
            gate = native.activate("gelu", gate, rest[0])
            projected = self.per_layer_projection(gate)
            h = norm(self.post_per_layer_input_norm, projected, residual=h, scale=scale)
        return [h]

    def _feed_forward(self, h: mx.array) -> mx.array:
        normed = norm(self.pre_feedforward_layernorm, h)
        mlp = self.mlp
        return mlp.down_proj(gated(normed, mlp.gate_proj, mlp.up_proj))

    def _experts(self, h: mx.array) -> mx.array:
        """What the experts that the router chooses make of ``h``."""
        indices, weights = self.router(h)
        normed = self.pre_feedforward_layernorm_2(h)
        experts = self.experts.switch_glu
        tokens = normed.reshape(-1, normed.shape[-1])
        chosen = indices.reshape(len(tokens), -1)
        gate = expert_product(tokens, chosen, experts.gate_proj)
        up = expert_product(tokens, chosen, experts.up_proj)
        inner = native.activate("gelu", gate, up)
        out = expert_product(inner, chosen, experts.down_proj)
        return (weights.reshape(*chosen.shape, 1) * out).sum(-2).reshape(h.shape)


class NativeLanguageModel(LanguageModel):
    def _finished(self, logits: mx.array, cap: float | None, bias: mx.array | None) -> mx.array:
        if cap is None:
            return super()._finished(logits, cap, bias)
        capped = native.softcap(logits, cap)
        return capped if bias is None else capped + bias
