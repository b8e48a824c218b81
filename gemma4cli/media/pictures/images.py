"""Image files to upright RGB pixels in sRGB, at their original size.

libav is imported only for files that need it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from ...decoded import Image
from ...errors import MediaDecodeError
from ...messages import Source
from ..limits import check_size
from .colors import ColorSpace, on_white
from .image_readers import PILLOW_ERRORS, opened_image
from .pages import Pictures, pictures_in, turn_to
from .profiles import color_space, in_srgb

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""A TIFF tag, which Pillow heeds up to 8 bits."""

_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def load_image(source: Source) -> Image:
    """The image as upright RGB in sRGB, uint8 ``[H, W, 3]``; the first frame of an animation.

    Of a file with several pages the one that ``source`` names, or the main one. Transparent pixels
    are blended onto white, deep gray is scaled to 8 bits. Raises MediaDecodeError unless the
    content is a readable image of at most ``limits.MAX_PIXELS``, or if there is no such page, and
    the errors of ``open_source``.
    """
    with opened_image(source) as (opened, format_name, stream):
        check_size(source, *opened.size)
        pictures = pictures_in(opened, format_name)
        page = _page(source, pictures)
        turn_to(opened, format_name, pictures.pages[page])
        check_size(source, *opened.size)
        space = color_space(opened, format_name, stream)
        rgb = None
        if space is not None and not space.is_srgb:
            from .deep_pictures import deep_picture

            rgb = deep_picture(opened, format_name, stream, space)
        if rgb is None:
            opened.load()
            rgb = to_rgb(opened, space)
        turn = _UPRIGHT.get(_orientation(opened))
    return Image(
        pixels=np.asarray(rgb if turn is None else rgb.transpose(turn)),
        name=source.name,
        page=page + 1,
        pages=len(pictures.pages),
        frames=pictures.frames,
    )


def count_pages(source: Source) -> int:
    """How many pages the image file has. Raises the errors of ``load_image``."""
    with opened_image(source) as (opened, format_name, _):
        return len(pictures_in(opened, format_name).pages)


def missing_page(count: int, page: int) -> str:
    """What is wrong with a page that a file with ``count`` pages does not have."""
    holds = "1 page" if count == 1 else f"{count} pages"
    return f"has {holds}; there is no page {page}"


def _page(source: Source, pictures: Pictures) -> int:
    """The index of the page to show. Raises MediaDecodeError."""
    if source.page is None:
        return pictures.main
    count = len(pictures.pages)
    if not 1 <= source.page <= count:
        raise MediaDecodeError(source.name, missing_page(count, source.page))
    return source.page - 1


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation, 1 (upright) if there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Pillow.Image, space: ColorSpace | None) -> Pillow.Image:
    """The image in mode RGB and in sRGB, transparent pixels on white.

    ``space`` is what ``color_space`` found; without it the image's ICC profile decides.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _deep_gray_to_8_bit(image)
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # a 16-bit PNG: Pillow keeps the high bytes of the pixels but the whole key
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if not image.has_transparency_data:
        return in_srgb(image, profile, space)
    rgba = image.convert("RGBA")
    colors = image.convert("L") if image.mode == "LA" else rgba
    shown = in_srgb(colors, profile, space)
    shown.putalpha(rgba.getchannel("A"))
    return on_white(shown)


def _deep_gray_to_8_bit(image: Pillow.Image) -> Pillow.Image:
    """16-bit, 32-bit and float gray to mode L, or LA if one level is transparent.

    White is 65535 for integers and 1 for floats. Floats beyond 1 use the next common scale (255,
    65535) that contains them; any other values are scaled from their own minimum and maximum.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    levels = _scaled(values)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    gray = Pillow.fromarray(levels)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    alpha = np.where(values == key, np.uint8(0), np.uint8(255))
    return Pillow.merge("LA", (gray, Pillow.fromarray(alpha)))


def _scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Gray values ``[H, W]`` of any number type to 0..255."""
    low, high = float(values.min()), float(values.max())
    scales = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    top = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if top is None:
        top = (high - low) or 1.0
    else:
        low = 0.0
    scaled = (values.astype(np.float64) - low) * (255.0 / top)
    return np.floor(scaled + 0.5).astype(np.uint8)
