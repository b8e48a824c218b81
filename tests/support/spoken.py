"""Speech for tests, by the espeak-ng program."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import numpy as np
import pytest
import soxr

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media.sound.audio import Samples

_ESPEAK_RATE = 22_050
_HEADER_BYTES = 44
_AUDIBLE = 0.01

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the espeak-ng program is missing"
)


@cache
def say(text: str, voice: str = "en") -> Samples:
    """``text`` as mono float32 ``[n]`` at 16 kHz with a peak of 1/2, trimmed of silence."""
    wav = subprocess.run(
        ["espeak-ng", "--stdout", "-v", voice, text], capture_output=True, check=True, timeout=60
    ).stdout
    values = np.frombuffer(wav[_HEADER_BYTES:], "<i2").astype(np.float32)
    samples = soxr.resample(values / np.abs(values).max() / 2, _ESPEAK_RATE, SAMPLE_RATE)
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    return np.clip(samples[audible[0] : audible[-1] + 1], -1, 1)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> Samples:
    """White noise with a level of ``level`` dBFS (negative)."""
    values = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))
    return np.clip(values * 10 ** (level / 20), -1, 1).astype(np.float32)
