"""Mistakes on the way from samples to soft tokens."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mistakes import Patch, configure_all, mistake, wrap

from gemma4cli.models import audio_tower
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.processing import audio, processor


@mistake("e2b", "audio")
def queries_see_thirteen_keys(patch: Patch, network: Gemma4) -> None:
    def local_mask(config, length):
        blocks = -(-length // config.chunk_size)
        before = config.context_left - 1
        context = config.chunk_size + before
        starts = mx.arange(blocks)[:, None, None] * config.chunk_size
        queries = starts + mx.arange(config.chunk_size)[None, :, None]
        keys = starts + mx.arange(context)[None, None] - before
        seen = (queries >= keys) & (queries - keys <= before)
        return seen & (keys >= 0) & (keys < length)

    patch.setattr(audio_tower, "local_mask", local_mask)


@mistake("e2b", "audio")
def relative_positions_are_not_shifted(patch: Patch, network: Gemma4) -> None:
    def shift(x: mx.array, context: int) -> mx.array:
        return mx.pad(x, [(0, 0), (0, 0), (0, 0), (0, context - x.shape[-1])])

    patch.setattr(audio_tower, "_shift", shift)


@mistake("e2b", "audio")
def relative_positions_count_upwards(patch: Patch, network: Gemma4) -> None:
    wrap(patch, audio_tower, "relative_positions", lambda make, config: make(config)[::-1])


@mistake("e2b", "audio")
def cosines_come_first(patch: Patch, network: Gemma4) -> None:
    half = network.config.audio.hidden_size // 2
    wrap(
        patch,
        audio_tower,
        "relative_positions",
        lambda make, config: mx.roll(make(config), half, axis=-1),
    )


@mistake("e2b", "audio")
def audio_queries_have_no_learned_scale(patch: Patch, network: Gemma4) -> None:
    for layer in network.audio_tower.layers:
        scale = layer.self_attn.per_dim_scale
        patch.setitem(layer.self_attn, "per_dim_scale", mx.zeros_like(scale))


def scale_projection(patch: Patch, network: Gemma4, name: str, factor: float) -> None:
    for layer in network.audio_tower.layers:
        chain = nn.Sequential(layer.self_attn[name], lambda x: x * factor)
        patch.setitem(layer.self_attn, name, chain)


@mistake("e2b", "audio")
def audio_queries_lack_the_logarithm(patch: Patch, network: Gemma4) -> None:
    scale_projection(patch, network, "q_proj", float(np.log(2)))


@mistake("e2b", "audio")
def audio_keys_are_not_scaled(patch: Patch, network: Gemma4) -> None:
    scale_projection(patch, network, "k_proj", float(np.log(2) / np.log(1 + np.e)))


@mistake("e2b", "audio")
def audio_attention_caps_lower(patch: Patch, network: Gemma4) -> None:
    configure_all(patch, network.audio_tower, audio_tower.AudioAttention, logit_cap=5.0)


@mistake("e2b", "audio")
def audio_feed_forward_adds_all(patch: Patch, network: Gemma4) -> None:
    configure_all(patch, network.audio_tower, audio_tower.AudioFeedForward, residual_weight=1.0)


@mistake("e2b", "audio")
def audio_output_has_no_bias(patch: Patch, network: Gemma4) -> None:
    output = network.audio_tower.output_proj
    patch.setitem(output, "bias", mx.zeros_like(output.bias))


@mistake("e2b", "audio")
def audio_convolution_looks_ahead(patch: Patch, network: Gemma4) -> None:
    for layer in network.audio_tower.layers:
        chain = nn.Sequential(layer.lconv1d.depthwise_conv1d, lambda x: mx.roll(x, -2, axis=1))
        patch.setitem(layer.lconv1d, "depthwise_conv1d", chain)


@mistake("e2b", "audio")
def subsampling_norms_over_frequencies(patch: Patch, network: Gemma4) -> None:
    def call(self: audio_tower.SubsampleLayer, x: mx.array) -> mx.array:
        out = self.conv(x)
        normed = mx.fast.layer_norm(out.swapaxes(-1, -2), None, None, self.norm.eps)
        return nn.relu(normed.swapaxes(-1, -2) * self.norm.weight)

    patch.setattr(audio_tower.SubsampleLayer, "__call__", call)


@mistake("e2b", "audio")
def mel_bins_hold_powers(patch: Patch, network: Gemma4) -> None:
    patch.setattr(audio.np, "abs", lambda x: (x * x.conj()).real)


@mistake("e2b", "audio")
def window_of_hann_is_symmetric(patch: Patch, network: Gemma4) -> None:
    patch.setattr(audio, "_hann", lambda length: np.hanning(length).astype(np.float32))


@mistake("e2b", "audio")
def floor_is_a_maximum(patch: Patch, network: Gemma4) -> None:
    def features(make, samples, config):
        magnitudes = np.exp(make(samples, config)) - config.floor
        return np.log(np.maximum(magnitudes, config.floor))

    wrap(patch, audio, "log_mel", features)


@mistake("e2b", "audio")
def no_silence_precedes_a_clip(patch: Patch, network: Gemma4) -> None:
    def features(make, samples, config):
        frames = len(make(samples, config))
        return make(np.append(samples, np.zeros(320, np.float32))[160:], config)[:frames]

    wrap(patch, audio, "log_mel", features)


@mistake("e2b", "audio_odd")
def clips_count_every_begun_forty_milliseconds(patch: Patch, network: Gemma4) -> None:
    patch.setattr(audio, "mel_token_count", lambda samples, config: -(-samples // 640))
    patch.setattr(processor, "audio_features", audio.audio_features)


@mistake("12b", "audio")
def sound_of_the_12b_is_normalized(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        Gemma4,
        "encode_audio",
        lambda call, self, frames: call(self, frames - frames.mean(axis=-1, keepdims=True)),
    )


@mistake("12b", "audio_31s")
def clips_of_the_12b_end_at_thirty_seconds(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        processor,
        "audio_features",
        lambda make, samples, config: make(samples[: 30 * 16_000], config),
    )
