"""Sound of any sample rate to 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr  # type: ignore[import-untyped]

from ...decoded import SAMPLE_RATE, Samples


class Resampler:
    """Blocks ``[channels, n]`` at ``rate`` to blocks at 16 kHz within [-1, 1].

    Samples at 16 kHz are not resampled.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, channels, "float32", "HQ")

    def add(self, samples: Samples, *, last: bool = False) -> Samples:
        """The next samples; some are held back until ``finish``."""
        if self._stream is None:
            return _bounded(samples)
        # soxr takes [n] for one channel and [n, channels] for several.
        packed = samples[0] if self._channels == 1 else np.ascontiguousarray(samples.T)
        out = self._stream.resample_chunk(packed, last=last)
        return _bounded(out[None] if self._channels == 1 else np.ascontiguousarray(out.T))

    def finish(self) -> Samples:
        """What is still held back."""
        return self.add(np.zeros((self._channels, 0), np.float32), last=True)


def resampled(runs: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """Pairs of rate in Hz and samples ``[n]`` as samples at 16 kHz, within [-1, 1]."""
    rate, resampler = SAMPLE_RATE, Resampler(SAMPLE_RATE, 1)
    for new_rate, samples in runs:
        if new_rate != rate:
            yield resampler.finish()[0]
            rate, resampler = new_rate, Resampler(new_rate, 1)
        yield resampler.add(samples[None])[0]
    yield resampler.finish()[0]


def _bounded(samples: Samples) -> Samples:
    """NaN to 0, the rest clipped: float files may contain anything, and resampling overshoots."""
    bounded: Samples = np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)
    return bounded
