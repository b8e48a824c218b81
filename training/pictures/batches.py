"""Batches of pictures with equal grids: patches, positions and labels of the tower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gemma4cli.processing.config import VisionProcessorConfig
from gemma4cli.processing.image import fit, fitted_size, patch_features

from .description import Kind, Picture
from .drawing import drawn
from .labels import CLASSES, labels
from .scenes import picture, picture_size

VISION = VisionProcessorConfig()
_UNIT = VISION.patch_size * VISION.pooling


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Pixels float32 ``[B, P, 768]``, positions int64 ``[B, P, 2]`` as (x, y), labels ``[B*T]``."""

    pictures: tuple[Picture, ...]
    pixels: torch.Tensor
    positions: torch.Tensor
    labels: dict[str, torch.Tensor]


def soft_grid(height: int, width: int, budget: int) -> tuple[int, int]:
    """Rows and columns of soft tokens that an image of this size gets."""
    fitted = fitted_size(height, width, budget, VISION)
    return fitted[0] // _UNIT, fitted[1] // _UNIT


def patches(
    pixels: npt.NDArray[np.uint8], budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """An image's patches float32 ``[P, 768]`` and their (x, y) int64 ``[P, 2]``."""
    features = patch_features(fit(pixels, budget, VISION), VISION, unified=False)
    rows, columns = features.grid
    y, x = np.mgrid[:rows, :columns]
    return features.patches, np.stack([x.ravel(), y.ravel()], axis=1)


def batch(rng: np.random.Generator, kinds: list[Kind], budget: int) -> Batch:
    """One picture of each of ``kinds``, all with the same grid of soft tokens."""
    height, width = picture_size(rng)
    grid = soft_grid(height, width, budget)
    pictures = []
    for kind in kinds:
        zoom = float(rng.uniform(0.8, 1.25))
        size = max(96, round(height * zoom)), max(96, round(width * zoom))
        if soft_grid(*size, budget) != grid:
            size = height, width
        pictures.append(picture(rng, kind, size))
    shown = [patches(drawn(each, rng), budget) for each in pictures]
    wanted = [labels(each, grid) for each in pictures]
    return Batch(
        pictures=tuple(pictures),
        pixels=torch.from_numpy(np.stack([pixels for pixels, _ in shown])),
        positions=torch.from_numpy(np.stack([positions for _, positions in shown])),
        labels={
            name: torch.from_numpy(np.stack([each[name] for each in wanted]).reshape(-1))
            for name in CLASSES
        },
    )
