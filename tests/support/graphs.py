"""Graphs of operations as a GPU would run them, built without computing anything.

Weights are views of a single number, so that networks of published sizes take no memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map

from gemma4cli.engine import sampling
from gemma4cli.engine.decode import run_tokens
from gemma4cli.engine.sampling import Sampler, make_sampler, suppress
from gemma4cli.models.caches import newest_keys_values
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.drafter import Drafter
from gemma4cli.models.drafter_config import DrafterConfig
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.masks import make_masks

from .published import config_of

_PRIMITIVE = re.compile(r'^\{ \d+ \[label ="(\w+)", shape=rectangle\]; \}$', re.MULTILINE)


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Elementwise chains are compiled, and MLX's fused operations are one each.

    On a CPU MLX builds the latter from smaller ones; here, one that reads the same arrays stands
    for each.
    """

    def attention(
        q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **_: Any
    ) -> mx.array:
        others = [k, v, mask] if isinstance(mask, mx.array) else [k, v]
        return mx.depends([q], others)[0]

    def norm(x: mx.array, weight: mx.array | None, eps: float, **_: Any) -> mx.array:
        return mx.depends([x], [x if weight is None else weight])[0]

    def rope(x: mx.array, *_: Any, offset: Any, **__: Any) -> mx.array:
        return mx.depends([x], [offset if isinstance(offset, mx.array) else x])[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "scaled_dot_product_attention", attention)
        patch.setattr(mx.fast, "rms_norm", norm)
        patch.setattr(mx.fast, "rope", rope)
        patch.setattr(sampling, "native_in_use", lambda: False)
        mx.enable_compile()
        try:
            yield
        finally:
            mx.disable_compile()


def without_weights(network: nn.Module, dtype: mx.Dtype = mx.bfloat16) -> None:
    """Replace the parameters of ``network`` by views of one number, in ``dtype``."""
    number = mx.array(0.5, dtype)
    views = tree_map(lambda each: mx.broadcast_to(number, each.shape), network.parameters())
    mx.eval(views)
    network.update(views)


def filled(cache: Sequence[Any], heads: Sequence[tuple[int, int]], length: int) -> None:
    """Set ``cache`` to hold ``length`` positions; ``heads`` holds heads and their size by layer."""
    for layer, (count, size) in zip(cache, heads, strict=True):
        stored = min(length, getattr(layer, "max_size", length))
        room = -(-stored // layer.step) * layer.step
        keys = mx.broadcast_to(mx.array(0, mx.bfloat16), (1, count, room, size))
        layer.keys, layer.values = keys, mx.broadcast_to(mx.array(0, mx.bfloat16), keys.shape)
        layer.offset = length
        if hasattr(layer, "_idx"):
            layer._idx = stored
        mx.eval(layer.keys, layer.values)


def primitives(*outputs: mx.array) -> list[str]:
    """The operations that computing ``outputs`` takes, by name."""
    text = io.StringIO()
    mx.export_to_dot(text, *outputs)
    return _PRIMITIVE.findall(text.getvalue())


class Pair(NamedTuple):
    """g4's network and mlx-lm's model of one published configuration."""

    ours: Gemma4
    theirs: Any

    def caches(self, length: int) -> tuple[Any, Any]:
        """Their caches with so many positions."""
        ours, theirs = self.ours.language_model.make_cache(), self.theirs.make_cache()
        layers = [each.self_attn for each in self.ours.language_model.model.layers][: len(ours)]
        for cache in (ours, theirs) if length else ():
            filled(cache, [(each.n_kv_heads, each.head_dim) for each in layers], length)
        return ours, theirs


def pair_of(name: str) -> Pair:
    """Both networks of the configuration ``name``, without weights."""
    from mlx_lm.models import gemma4

    raw = config_of(name)
    theirs = gemma4.Model(gemma4.ModelArgs.from_dict(raw))
    found = Pair(Gemma4(Gemma4Config.from_dict(raw)), theirs)
    for network in found:
        without_weights(network)
    # Drawing weights that were never computed has left a graph there.
    mx.random.seed(0)
    mx.eval(mx.random.state)
    return found


Step: TypeAlias = Callable[[Any], list[mx.array]]
"""A step of decoding with a cache; gives what is evaluated of it."""


def our_step(network: Gemma4, temperature: float) -> Step:
    """g4's, with its check that numbers are finite and suppressed tokens."""
    sampler = make_sampler(temperature=temperature, top_p=0.95, top_k=64, key=mx.random.key(0))
    bias = suppress(network.config.text.vocab_size, [258882, 258883])
    token = mx.array(7)
    mx.eval(bias, token)

    def step(cache: Any) -> list[mx.array]:
        _, logits, finite = run_tokens(network, cache, token, bias)
        return [sampler(logits[0, -1]), finite]

    return step


def drafter_of(name: str) -> Drafter:
    """The drafter of the configuration ``name``, without weights."""
    network = Drafter(DrafterConfig.from_dict(config_of(f"{name}-assistant")))
    without_weights(network)
    if network.config.clusters is not None:
        clusters = network.masked_embedding
        clusters.token_ordering = mx.zeros(clusters.token_ordering.shape, mx.int32)
    mx.random.seed(0)
    mx.eval(mx.random.state, network.parameters())
    return network


def guesses_of(drafter: Drafter, network: Gemma4, cache: Any, count: int) -> list[mx.array]:
    """``count`` guesses one after the other, as ``Draft`` makes them."""
    text = network.language_model
    keys_values = newest_keys_values(cache, text.config.layer_types)
    token, hidden = mx.array(7), mx.zeros((1, 1, text.config.hidden_size), mx.bfloat16)
    mx.eval(token, hidden)
    guesses: list[mx.array] = []
    for _ in range(count):
        embedding = text.model.embed(token.reshape(1, 1))
        guess = drafter(embedding, hidden, keys_values, cache[0].offset)
        token, hidden = guess.token(), guess.hidden
        guesses.append(token)
    return guesses


def checked(network: Gemma4, cache: Any, count: int) -> list[mx.array]:
    """The greedy step that checks ``count`` guesses, as in ``Draft``; what is evaluated of it."""
    text = network.config.text
    sampler = make_sampler(temperature=0, top_p=1, top_k=0)
    bias = suppress(text.vocab_size, [258882, 258883])
    ids = mx.array([7] * (count + 1))
    mx.eval(bias, ids)
    masks = make_masks(length=count + 1, offset=cache[0].offset, window=text.sliding_window)
    _, logits, finite = run_tokens(network, cache, ids, bias, masks)
    return [Sampler.sample_rows([sampler] * (count + 1), logits[0]), finite]


def step_of_mlx_lm(model: Any, temperature: float) -> Step:
    """That of generate_step in mlx_lm.generate."""
    from mlx_lm.sample_utils import make_sampler as make_theirs

    sampler = make_theirs(temperature, top_p=0.95, top_k=64)
    token = mx.array([7])
    mx.eval(token)

    def step(cache: Any) -> list[mx.array]:
        logits = model(token[None], cache=cache)[:, -1, :]
        logprobs = logits - mx.logsumexp(logits, keepdims=True)
        return [sampler(logprobs), logprobs.squeeze(0)]

    return step
