"""What is heard beside the words, and how loud the words are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE

FloatArray = npt.NDArray[np.float32]

COLORS = {"white": 0.0, "pink": 0.5, "brown": 1.0}
"""Exponents of 1/f of the magnitude."""
WORDLESS = (*COLORS, "hum", "clicks", "tune")
KINDS = (*WORDLESS, "babble")


def noise(
    rng: np.random.Generator, kind: str, length: int, speech: Sequence[FloatArray] = ()
) -> FloatArray:
    """``length`` samples of unit power; ``babble`` is the sum of ``speech``."""
    if kind in COLORS:
        samples = _colored(rng, COLORS[kind], length)
    elif kind == "hum":
        samples = _hum(rng, length)
    elif kind == "clicks":
        samples = _clicks(rng, length)
    elif kind == "tune":
        samples = _tune(rng, length)
    else:
        samples = _babble(rng, length, speech)
    power = float(np.sqrt(np.mean(samples**2)))
    return (samples / max(power, 1e-9)).astype(np.float32)


def mixed(samples: FloatArray, unit_noise: FloatArray, decibels: float) -> FloatArray:
    """``samples`` with noise of unit power at a signal-to-noise ratio of ``decibels``."""
    power = float(np.sqrt(np.mean(samples**2)))
    return (samples + unit_noise * np.float32(power * 10 ** (-decibels / 20))).astype(np.float32)


def band_limited(rng: np.random.Generator, samples: FloatArray) -> FloatArray:
    """Softly without the lowest and the highest frequencies, as a cheap microphone has it."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low, high = rng.uniform(50, 250), rng.uniform(3800, 7500)
    gain = 1 / np.sqrt((1 + (low / np.maximum(hertz, 1)) ** 4) * (1 + (hertz / high) ** 8))
    return np.fft.irfft(spectrum * gain, len(samples)).astype(np.float32)


def leveled(samples: FloatArray, decibels: float) -> FloatArray:
    """``samples`` with their peak at ``decibels`` below full scale."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return (samples * (10 ** (-decibels / 20) / max(peak, 1e-9))).astype(np.float32)


def _colored(rng: np.random.Generator, exponent: float, length: int) -> FloatArray:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.fft.rfftfreq(length), 40 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * frequency**-exponent, length).astype(np.float32)


def _hum(rng: np.random.Generator, length: int) -> FloatArray:
    time = np.arange(length) / SAMPLE_RATE
    mains = float(rng.choice([50.0, 60.0]))
    strengths = rng.uniform(0.1, 1.0, 6)
    tones = (s * np.sin(2 * np.pi * mains * (k + 1) * time) for k, s in enumerate(strengths))
    return (sum(tones, 0.05 * rng.standard_normal(length))).astype(np.float32)


def _clicks(rng: np.random.Generator, length: int) -> FloatArray:
    samples = 0.02 * rng.standard_normal(length)
    decay = np.exp(-np.arange(160) / 25.0)
    for start in rng.integers(0, max(1, length - 160), max(1, length // (SAMPLE_RATE // 4))):
        stop = min(length, int(start) + 160)
        samples[start:stop] += rng.standard_normal(stop - start) * decay[: stop - start]
    return samples.astype(np.float32)


def _tune(rng: np.random.Generator, length: int) -> FloatArray:
    """Tones of an instrument, one or three at a time, that change with a beat or glide."""
    beat = int(float(rng.uniform(0.1, 0.7)) * SAMPLE_RATE)
    notes = 1 + length // beat
    strengths = float(rng.uniform(0.2, 0.9)) ** np.arange(int(rng.integers(1, 6)))
    samples = np.zeros(length)
    for _ in range(int(rng.choice([1, 3]))):
        pitches = float(rng.uniform(90, 700)) * 2 ** (rng.integers(0, 18, notes + 1) / 12)
        if rng.random() < 0.2:
            hertz = np.interp(np.arange(length), np.arange(notes + 1) * beat, pitches)
        else:
            hertz = np.repeat(pitches, beat)[:length]
        phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
        samples += sum(s * np.sin((k + 1) * phase) for k, s in enumerate(strengths))
    if rng.random() < 0.6:
        fall = float(rng.uniform(0.5, 4.0))
        samples *= np.exp(-fall * (np.arange(length) % beat) / beat)
    return samples.astype(np.float32)


def _babble(rng: np.random.Generator, length: int, speech: Sequence[FloatArray]) -> FloatArray:
    samples = np.zeros(length, np.float32)
    for voice in speech:
        repeated = np.resize(voice, length)
        samples += np.roll(repeated, int(rng.integers(length)))
    return samples
