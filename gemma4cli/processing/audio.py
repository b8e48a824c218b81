"""Samples to audio features: log-mel frames for the tower, raw frames for the 12B.

Ported from feature_extraction_gemma4 and its unified variant in transformers. Clips are not padded
to a common length, so every frame is valid and no mask is needed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..decoded import SAMPLE_RATE
from .config import FRAMES_PER_TOKEN, MelConfig, RawAudioConfig
from .inputs import AudioFeatures, FloatArray, digest_of


def mel_frame_count(samples: int, config: MelConfig) -> int:
    """Frames that end within the samples; half a frame of silence precedes the first sample."""
    padded = samples + config.frame_length // 2
    return max(0, (padded - config.frame_length - 1) // config.hop_length + 1)


def mel_token_count(samples: int, config: MelConfig) -> int:
    """Soft tokens of ``samples`` samples, truncated to the longest clip of the tower."""
    frames = mel_frame_count(min(samples, max_samples(config)), config)
    return -(-frames // FRAMES_PER_TOKEN)


def raw_token_count(samples: int, config: RawAudioConfig) -> int:
    """Soft tokens of ``samples`` samples; clips of any length are allowed."""
    return -(-samples // config.samples_per_token)


def max_samples(config: MelConfig) -> int:
    """The longest clip that the tower takes, in samples (30 s)."""
    return config.max_tokens * FRAMES_PER_TOKEN * config.hop_length


def audio_features(samples: FloatArray, config: MelConfig | RawAudioConfig) -> AudioFeatures:
    """Features of mono 16 kHz ``samples`` float32 ``[N]``."""
    if isinstance(config, RawAudioConfig):
        heard = samples
        padded = np.pad(samples, (0, -len(samples) % config.samples_per_token))
        frames = padded.reshape(-1, config.samples_per_token)
        count = raw_token_count(len(samples), config)
    else:
        heard = samples[: max_samples(config)]
        frames = log_mel(heard, config)
        count = mel_token_count(len(samples), config)
    return AudioFeatures(
        frames=frames,
        soft_tokens=count,
        digest=digest_of(heard, config),
        heard_seconds=len(heard) / SAMPLE_RATE,
    )


def log_mel(samples: FloatArray, config: MelConfig) -> FloatArray:
    """Log-mel magnitudes float32 ``[T, bins]`` of samples ``[N]``."""
    count = mel_frame_count(len(samples), config)
    if count == 0:
        return np.zeros((0, config.bins), np.float32)
    padded = np.pad(samples, (config.frame_length // 2, 0))
    windows = np.lib.stride_tricks.sliding_window_view(padded, config.frame_length)
    frames = windows[:: config.hop_length][:count] * _hann(config.frame_length)
    magnitudes = np.abs(np.fft.rfft(frames, n=config.fft_length, axis=-1))
    return np.log(magnitudes @ _mel_filters(config) + config.floor).astype(np.float32)


def _hann(length: int) -> FloatArray:
    """A periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@lru_cache(maxsize=4)
def _mel_filters(config: MelConfig) -> npt.NDArray[np.float64]:
    """Triangular filters ``[fft/2 + 1, bins]``, evenly spaced on the HTK mel scale, peak 1."""

    def to_mel(hertz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))

    mels = np.linspace(to_mel(config.min_frequency), to_mel(config.max_frequency), config.bins + 2)
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    bins = np.linspace(0, SAMPLE_RATE // 2, config.fft_length // 2 + 1)
    slopes = corners[None] - bins[:, None]
    widths = np.diff(corners)
    falling = slopes[:, 2:] / widths[1:]
    rising = -slopes[:, :-2] / widths[:-1]
    return np.maximum(0.0, np.minimum(falling, rising))
