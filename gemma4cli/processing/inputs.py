"""Model inputs: features of single media items, and a prompt with its features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .prompt import MediaSpan

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageFeatures:
    """One image or frame at the size that the model sees: RGB pixels, uint8 ``[H, W, 3]``.

    ``grid`` is (rows, columns) in patches; ``scale`` takes a pixel's values to [0, 1].
    """

    pixels: npt.NDArray[np.uint8]
    grid: tuple[int, int]
    scale: float
    soft_tokens: int
    digest: str

    def patches(self) -> FloatArray:
        """Patches ``[rows*columns, P*P*3]`` in [0, 1], raster order.

        They take four times the pixels' memory, and are needed by the tower alone.
        """
        rows, columns = self.grid
        side = self.pixels.shape[0] // rows
        squares = self.pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
        levels = (np.arange(256) * self.scale).astype(np.float32)
        return levels[squares.reshape(rows * columns, -1)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AudioFeatures:
    """Log-mel frames ``[T, bins]``, or raw frames ``[n, samples]`` for the 12B.

    ``heard_seconds`` is how much of the clip the frames cover; towers take 30 s at most.
    """

    frames: FloatArray
    soft_tokens: int
    digest: str
    heard_seconds: float


MediaFeatures = ImageFeatures | AudioFeatures


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelInputs:
    """A prompt ready to run. ``features[i]`` fills the placeholders of ``spans[i]``.

    ``notices`` report changes to the media to the user, one line each; ``budgets`` are those of the
    images.
    """

    ids: tuple[int, ...]
    spans: tuple[MediaSpan, ...]
    features: tuple[MediaFeatures, ...]
    text: str
    notices: tuple[str, ...]
    budgets: tuple[int, ...] = ()

    @property
    def num_soft_tokens(self) -> int:
        return sum(span.end - span.start for span in self.spans)


def digest_of(array: npt.NDArray[np.generic], *settings: object) -> str:
    """A cache key for an array and the settings it was computed with."""
    state = hashlib.blake2b(digest_size=16)
    state.update(repr((array.shape, array.dtype.str, settings)).encode())
    state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()
