"""A decoder layer of Gemma 4 in plain numpy and float64, written from the formulas.

Does not compute with MLX: weights come from a function that maps a name to an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gemma4cli.models.text_config import TextConfig

Array = npt.NDArray[np.float64]
Weights = Callable[[str], Array]
KeysValues = tuple[Array, Array]


def plain(value: mx.array) -> Array:
    """An array of MLX in numpy and float64."""
    return np.array(value.astype(mx.float32), np.float64)


def rms_norm(x: Array, weight: Array | float = 1.0, eps: float = 1e-6) -> Array:
    """Multiplies by the weight, not by one plus the weight."""
    return x * (np.mean(x * x, axis=-1, keepdims=True) + eps) ** -0.5 * weight


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def rotate(x: Array, positions: Array, theta: float, share: float) -> Array:
    """Rotary embedding of ``x`` ``[H, L, d]``; angles beyond ``share`` of a head are 0.

    The exponent counts in the whole head's size, and a dimension's partner is half a head away.
    """
    dims = x.shape[-1]
    turning = int(share * dims // 2)
    frequencies = np.zeros(dims // 2)
    frequencies[:turning] = theta ** (-2 * np.arange(turning) / dims)
    angles = positions[:, None] * frequencies
    first, second = x[..., : dims // 2], x[..., dims // 2 :]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """Layer ``index`` of a model; ``weights`` knows its tensors by their names in the layer."""

    config: TextConfig
    index: int
    weights: Weights

    @property
    def is_full(self) -> bool:
        return self.config.layer_types[self.index] == "full_attention"

    def __call__(
        self, x: Array, row: Array | None = None, shared: KeysValues | None = None
    ) -> tuple[Array, KeysValues]:
        """``x`` ``[L, D]`` from position 0 on, ``row`` ``[L, P]`` its per-layer inputs."""
        w = self.weights
        attended, kept = self.attend(rms_norm(x, w("input_layernorm.weight")), shared)
        x = x + rms_norm(attended, w("post_attention_layernorm.weight"))
        x = x + rms_norm(self.feed(x), w("post_feedforward_layernorm.weight"))
        if row is not None:
            gated = gelu(x @ w("per_layer_input_gate.weight").T) * row
            added = gated @ w("per_layer_projection.weight").T
            x = x + rms_norm(added, w("post_per_layer_input_norm.weight"))
        return x * w("layer_scalar"), kept

    def attend(self, x: Array, shared: KeysValues | None) -> tuple[Array, KeysValues]:
        """Attention of scale one; the window holds ``sliding_window`` keys, self included."""
        config, w, length = self.config, self.weights, len(x)
        dims = config.global_head_dim if self.is_full else config.head_dim
        rope = config.rope_full if self.is_full else config.rope_sliding
        at = np.arange(length)

        def heads(name: str) -> Array:
            projected = x @ w(f"self_attn.{name}.weight").T
            return projected.reshape(length, -1, dims).swapaxes(0, 1)

        def placed(x: Array, norm: str) -> Array:
            normed = rms_norm(x, w(f"self_attn.{norm}.weight"))
            return rotate(normed, at, rope.theta, rope.partial_factor)

        queries = placed(heads("q_proj"), "q_norm")
        if shared is None:
            raw = heads("k_proj")
            values = raw if config.k_eq_v and self.is_full else heads("v_proj")
            shared = placed(raw, "k_norm"), rms_norm(values)
        keys, values = (np.repeat(a, len(queries) // len(a), axis=0) for a in shared)
        logits = queries @ keys.swapaxes(-1, -2)
        distance = at[:, None] - at[None]
        seen = distance >= 0
        if not self.is_full:
            seen &= distance < config.sliding_window
        out = softmax(np.where(seen, logits, -np.inf)) @ values
        return out.swapaxes(0, 1).reshape(length, -1) @ w("self_attn.o_proj.weight").T, shared

    def feed(self, x: Array) -> Array:
        """The dense MLP, and the experts beside it, up to the norm of their sum."""
        w = self.weights
        normed = rms_norm(x, w("pre_feedforward_layernorm.weight"))
        inner = gelu(normed @ w("mlp.gate_proj.weight").T) * (normed @ w("mlp.up_proj.weight").T)
        dense = inner @ w("mlp.down_proj.weight").T
        if self.config.moe is None:
            return dense
        dense = rms_norm(dense, w("post_feedforward_layernorm_1.weight"))
        mixed = np.stack([self.mix(token) for token in x])
        return dense + rms_norm(mixed, w("post_feedforward_layernorm_2.weight"))

    def mix(self, x: Array) -> Array:
        """The experts' output for one token ``[D]`` of the hidden states after attention."""
        assert self.config.moe is not None
        w = self.weights
        routed = rms_norm(x) * w("router.scale") * len(x) ** -0.5
        share = softmax(routed @ w("router.proj.weight").T)
        chosen = np.argsort(-share)[: self.config.moe.top_k]
        weight = share[chosen] / share[chosen].sum() * w("router.per_expert_scale")[chosen]
        normed = rms_norm(x, w("pre_feedforward_layernorm_2.weight"))
        gate, up, down = (
            w(f"experts.switch_glu.{name}_proj.weight") for name in ("gate", "up", "down")
        )
        parts = [down[e] @ (gelu(gate[e] @ normed) * (up[e] @ normed)) for e in chosen]
        return np.einsum("e,ed->d", weight, np.array(parts))
