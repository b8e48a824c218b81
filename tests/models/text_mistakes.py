"""Mistakes in the language model and in its masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn
from mistakes import Patch, configure, mistake, wrap

from gemma4cli.engine import prefill
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.language import TextModel
from gemma4cli.models.text_layer import TextLayer


def text_layers(network: Gemma4) -> list[TextLayer]:
    return network.language_model.model.layers


@mistake("e2b", "text_short")
def attention_is_scaled(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        patch.setattr(layer.self_attn, "scale", layer.self_attn.head_dim**-0.5)


@mistake("e2b", "text_short")
def norms_multiply_by_one_plus_weight(patch: Patch, network: Gemma4) -> None:
    patch.setattr(
        nn.RMSNorm, "__call__", lambda self, x: mx.fast.rms_norm(x, 1 + self.weight, self.eps)
    )


@mistake("e2b", "text_short")
def values_are_not_normed(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        if layer.self_attn.has_kv:
            patch.setitem(layer.self_attn, "v_norm", lambda x: x)


@mistake("31b", "text_short")
def equal_values_are_taken_after_the_key_norm(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        attention = layer.self_attn
        if attention.use_k_eq_v:
            chain = nn.Sequential(attention.k_norm, attention.v_norm)
            patch.setitem(attention, "v_norm", chain)


def rotate(patch: Patch, network: Gemma4, kind: str, make: Callable[..., nn.Module]) -> None:
    for layer in text_layers(network):
        if layer.layer_type == kind:
            patch.setitem(layer.self_attn, "rope", make(layer.self_attn.head_dim))


@mistake("e2b", "text_short")
def proportional_rope_counts_in_rotated_dims(patch: Patch, network: Gemma4) -> None:
    rotate(
        patch,
        network,
        "full_attention",
        lambda dims: nn.RoPE(dims // 4, traditional=False, base=1e6),
    )


@mistake("e2b", "text_short")
def proportional_rope_turns_the_whole_head(patch: Patch, network: Gemma4) -> None:
    rotate(patch, network, "full_attention", lambda dims: nn.RoPE(dims, base=1e6))


@mistake("e2b", "text_short")
def sliding_layers_have_the_other_base(patch: Patch, network: Gemma4) -> None:
    rotate(patch, network, "sliding_attention", lambda dims: nn.RoPE(dims, base=1e6))


@mistake("e2b", "text_short")
def rope_pairs_neighbors(patch: Patch, network: Gemma4) -> None:
    rotate(
        patch, network, "sliding_attention", lambda dims: nn.RoPE(dims, traditional=True, base=1e4)
    )


@mistake("e4b", "text_short")
def sharing_layers_take_the_first_keys(patch: Patch, network: Gemma4) -> None:
    first: dict[str, tuple[mx.array, mx.array]] = {}

    def call(original, self, x, *args, shared_kv=None, **kwargs):
        if shared_kv is not None:
            shared_kv = first[self.layer_type]
        out = original(self, x, *args, shared_kv=shared_kv, **kwargs)
        first.setdefault(self.layer_type, out[1])
        return out

    wrap(patch, TextLayer, "__call__", call)


@mistake("e2b", "text_short")
def layer_scalars_are_one(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        patch.setitem(layer, "layer_scalar", mx.ones(1))


@mistake("e2b", "text_short")
def layer_scalar_leaves_the_residual(patch: Patch, network: Gemma4) -> None:
    def call(original, self, x, *args, **kwargs):
        out, *rest = original(self, x, *args, **kwargs)
        return (x * (1 - self.layer_scalar) + out, *rest)

    wrap(patch, TextLayer, "__call__", call)


@mistake("e2b", "text_short")
def per_layer_inputs_are_left_out(patch: Patch, network: Gemma4) -> None:
    patch.setattr(TextModel, "per_layer_inputs", lambda self, ids, embeddings: None)


@mistake("e2b", "text_short")
def per_layer_rows_are_not_scaled(patch: Patch, network: Gemma4) -> None:
    table = network.language_model.model.embed_tokens_per_layer
    scale = network.config.text.ple_size**-0.5
    patch.setitem(table, "weight", table.weight * scale)


@mistake("e2b", "image_70")
def placeholders_have_zero_rows(patch: Patch, network: Gemma4) -> None:
    table = network.language_model.model.embed_tokens_per_layer
    emptied = table.weight * (mx.arange(len(table.weight)) > 0)[:, None]
    patch.setitem(table, "weight", emptied)


@mistake("e2b", "image_70")
def placeholders_have_their_own_rows(patch: Patch, network: Gemma4) -> None:
    configure(patch, network, placeholders=None)


@mistake("e2b", "image_70")
def projection_sees_the_text_embeddings(patch: Patch, network: Gemma4) -> None:
    original = TextModel.per_layer_inputs
    patch.setattr(
        TextModel, "per_layer_inputs", lambda self, ids, _: original(self, ids, self.embed(ids))
    )


@mistake("31b", "text_short")
def embeddings_are_not_scaled(patch: Patch, network: Gemma4) -> None:
    patch.setattr(TextModel, "embed", lambda self, ids: self.embed_tokens(ids))


@mistake("31b", "text_short")
def logits_are_not_capped(patch: Patch, network: Gemma4) -> None:
    configure(patch, network.language_model, logit_softcap=None)


# Mixture of experts


@mistake("26b", "text_short")
def experts_have_no_scales(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        scale = layer.router.per_expert_scale
        patch.setitem(layer.router, "per_expert_scale", mx.ones_like(scale))


@mistake("26b", "text_short")
def router_reads_the_normed_stream(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        chain = nn.Sequential(layer.pre_feedforward_layernorm, layer.router)
        patch.setitem(layer, "router", chain)


@mistake("26b", "text_short")
def experts_read_the_norm_of_the_mlp(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        patch.setitem(layer, "pre_feedforward_layernorm_2", layer.pre_feedforward_layernorm)


@mistake("26b", "text_short")
def router_is_not_scaled(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        patch.setattr(layer.router, "_root_size", 1.0)


@mistake("26b", "text_short")
def one_expert_too_few(patch: Patch, network: Gemma4) -> None:
    for layer in text_layers(network):
        changed = dataclasses.replace(layer.router.config, top_k_experts=1)
        patch.setattr(layer.router, "config", changed)


# Masks


def mask(patch: Patch, **changes: object) -> None:
    wrap(patch, prefill, "make_masks", lambda make, **given: make(**(given | changes)))


@mistake("31b", "image_70")
def image_blocks_are_causal(patch: Patch, network: Gemma4) -> None:
    mask(patch, blocks=None)


@mistake("31b", "image_70")
def image_blocks_are_bidirectional_on_full_layers(patch: Patch, network: Gemma4) -> None:
    mask(patch, blocks_on_full_layers=True)


@mistake("12b", "mixed")
def image_blocks_of_the_12b_are_causal_beside_sound(patch: Patch, network: Gemma4) -> None:
    mask(patch, blocks=None)


@mistake("31b", "image_140")
def image_blocks_reach_beyond_the_window(patch: Patch, network: Gemma4) -> None:
    def make(original, **given):
        right, unclamped = original(**given), original(**(given | {"blocks_on_full_layers": True}))
        return dataclasses.replace(right, sliding=unclamped.sliding)

    wrap(patch, prefill, "make_masks", make)


@mistake("e2b", "image_70")
def small_models_have_bidirectional_image_blocks(patch: Patch, network: Gemma4) -> None:
    text = dataclasses.replace(network.config.text, vision_blocks=True)
    configure(patch, network, text=text)


@mistake("26b", "video")
def frames_form_one_block(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        prefill.Prefill,
        "_blocks",
        lambda blocks, *args: [min(block, 0) for block in blocks(*args)],
    )


def number_blocks(patch: Patch, kinds: Sequence[str]) -> None:
    """Blocks of any span of these kinds, and of what a chunk cuts off one."""

    def blocks(self: prefill.Prefill, start: int, end: int) -> list[int]:
        result = [-1] * len(self.ids)
        for number, span in enumerate(self.spans):
            if span.kind in kinds:
                result[span.start : span.end] = [number] * (span.end - span.start)
        return result[start:end]

    patch.setattr(prefill.Prefill, "_blocks", blocks)


@mistake("12b", "audio")
def clips_form_blocks(patch: Patch, network: Gemma4) -> None:
    number_blocks(patch, ["audio"])


@mistake("31b", "images")
def image_blocks_are_split_over_chunks(patch: Patch, network: Gemma4) -> None:
    number_blocks(patch, ["image"])
    wrap(patch, prefill, "chunk_ends", lambda ends, length, step, spans: ends(length, 48, ()))


@mistake("e2b", "turns")
def window_is_one_key_wider(patch: Patch, network: Gemma4) -> None:
    mask(patch, window=network.config.text.sliding_window + 1)


@mistake("e2b", "turns")
def window_is_one_key_narrower(patch: Patch, network: Gemma4) -> None:
    mask(patch, window=network.config.text.sliding_window - 1)
