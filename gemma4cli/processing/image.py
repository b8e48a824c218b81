"""RGB pixels to the size that the model sees.

Ported from image_processing_gemma4 and its unified variant in transformers. Pillow is imported when
there is something to resize: runs without pictures import this module, too.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .config import VisionProcessorConfig
from .inputs import ImageFeatures, digest_of


def fitted_size(
    height: int, width: int, budget: int, config: VisionProcessorConfig
) -> tuple[int, int]:
    """The size in pixels (height, width) at which an image takes at most ``budget`` soft tokens.

    The aspect ratio is kept; both sides are rounded down to multiples of a soft token's side. A
    side that would round to 0 gets one soft token, the other as many as the ratio and the budget
    allow. Small images are scaled up. No side gets more soft tokens than the network has positions
    for.
    """
    unit = config.patch_size * config.pooling
    scale = math.sqrt(budget * unit**2 / (height * width))
    rows, columns = (math.floor(scale * side / unit) for side in (height, width))
    if rows == 0:
        rows, columns = 1, min(width // height, budget)
    elif columns == 0:
        rows, columns = min(height // width, budget), 1
    if (longer := max(rows, columns)) > config.longest_side:
        rows, columns = (max(1, side * config.longest_side // longer) for side in (rows, columns))
    return rows * unit, columns * unit


def fit(
    pixels: npt.NDArray[np.uint8], budget: int, config: VisionProcessorConfig
) -> npt.NDArray[np.uint8]:
    """An RGB image uint8 ``[H, W, 3]`` resized to its fitted size."""
    given = pixels.shape[0], pixels.shape[1]
    height, width = fitted_size(*given, budget, config)
    if (height, width) == given:
        return pixels
    from PIL import Image as PillowImage

    image = PillowImage.fromarray(pixels)
    return np.asarray(image.resize((width, height), PillowImage.Resampling.BICUBIC))


def image_features(
    pixels: npt.NDArray[np.uint8], budget: int, config: VisionProcessorConfig, *, unified: bool
) -> ImageFeatures:
    """Patches of an RGB image uint8 ``[H, W, 3]`` of any size."""
    return patch_features(fit(pixels, budget, config), config, unified=unified)


def patch_features(
    pixels: npt.NDArray[np.uint8], config: VisionProcessorConfig, *, unified: bool
) -> ImageFeatures:
    """Patches of an image that ``fit`` has resized.

    Towers take patches of ``patch_size`` and pool their outputs; the 12B takes one patch per soft
    token.
    """
    side = config.patch_size * config.pooling if unified else config.patch_size
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    soft_tokens = rows * columns if unified else rows * columns // config.pooling**2
    return ImageFeatures(
        pixels=pixels,
        grid=(rows, columns),
        scale=config.rescale_factor,
        soft_tokens=soft_tokens,
        digest=digest_of(pixels, side),
    )
