"""Decoded media: plain arrays between the decoders and the processors.

Knows neither files nor models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples per second of every decoded audio clip; the rate of every Gemma 4."""

Samples = npt.NDArray[np.float32]
"""Sound as values in [-1, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Image:
    """Upright RGB pixels, uint8 ``[H, W, 3]``.

    ``page``, from 1, is the one of the file's ``pages`` that they are; ``frames`` is the number of
    frames of an animation, of which they are the first.
    """

    pixels: npt.NDArray[np.uint8]
    name: str
    page: int = 1
    pages: int = 1
    frames: int = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AudioClip:
    """Mono samples in [-1, 1] at ``SAMPLE_RATE``, float32 ``[N]``.

    ``whole`` is the length of the recording in seconds if the samples are only its start.
    """

    samples: npt.NDArray[np.float32]
    name: str
    whole: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / SAMPLE_RATE if self.whole is None else self.whole


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoFrame:
    """One frame, uint8 ``[H, W, 3]``, upright, with its time in seconds from the clip's start.

    ``breaks_off``: the clip goes on after it, but nothing of that can be decoded.
    """

    pixels: npt.NDArray[np.uint8]
    seconds: float
    breaks_off: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VideoClip:
    """Sampled frames in order of time, and the clip's sound if requested and present."""

    frames: tuple[VideoFrame, ...]
    sound: AudioClip | None
    name: str


Decoded = Image | AudioClip | VideoClip
