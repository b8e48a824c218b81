"""Image files to upright RGB pixels in sRGB, at their original size unless they are huge.

libav is imported only for files that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from .large_pictures import DEEP_PIXELS, prepare_to_decode, shrinking
from .pages import Pictures, pictures_in, turn_to
from .profiles import color_space, in_srgb

_Pixels = npt.NDArray[np.uint8]

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""A TIFF tag, which Pillow heeds up to 8 bits."""

_BAND = 1 << 20
"""Pixels converted at once."""

_AVERAGED = frozenset({"CMYK", "F", "I", "L", "RGB"})
"""Modes whose pixels can be averaged before they are converted."""

_UPRIGHT: dict[int, Callable[[_Pixels], _Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""By EXIF orientation; these are views."""


def load_image(source: Source) -> Image:
    """The image as upright RGB in sRGB, uint8 ``[H, W, 3]``; the first frame of an animation.

    A huge one is shrunk, see ``large_pictures``.

    Of a file with several pages the one that ``source`` names, or the main one. Transparent pixels
    are blended onto white, deep gray is scaled to 8 bits. Raises MediaDecodeError unless the
    content is a readable image of at most ``limits.MAX_PIXELS``, or if there is no such page, and
    the errors of ``prepare_to_decode`` and ``open_source``.
    """
    with opened_image(source) as (opened, format_name, stream):
        check_size(source, *opened.size)
        pictures = pictures_in(opened, format_name)
        page = _page(source, pictures)
        turn_to(opened, format_name, pictures.pages[page])
        prepare_to_decode(source, opened, format_name, stream)
        space = color_space(opened, format_name, stream)
        pixels = None
        if space is not None and not space.is_srgb and opened.width * opened.height <= DEEP_PIXELS:
            from .deep_pictures import deep_picture

            pixels = deep_picture(opened, format_name, stream, space)
        if pixels is None:
            opened.load()
            check_size(source, *opened.size)  # of what an icon holds, its directory says another
            pixels = srgb_pixels(opened, space)
        turn = _UPRIGHT.get(_orientation(opened))
    return Image(
        pixels=pixels if turn is None else turn(pixels),
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


def srgb_pixels(image: Pillow.Image, space: ColorSpace | None) -> npt.NDArray[np.uint8]:
    """The image as RGB in sRGB, uint8 ``[H, W, 3]``, transparent pixels on white.

    ``space`` is what ``color_space`` found; without it the image's ICC profile decides. Converted
    in bands: there is no second copy of the whole image.
    """
    factor = shrinking(image.width * image.height)
    is_inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if factor > 1 and image.mode in _AVERAGED and "transparency" not in image.info:
        image, factor = image.reduce(factor), 1
    width, height = image.size
    scale = _gray_scale(image, is_inverted=is_inverted) if _is_deep_gray(image) else None
    rows = max(1, _BAND // (width * factor)) * factor
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    for top in range(0, height, rows):
        band = _band(image, top, rows)
        shown = to_rgb(band, space, scale)
        if factor > 1:
            shown = shown.reduce(factor)
        begin = top // factor
        out[begin : begin + shown.height] = np.asarray(shown)
    return out


def _band(image: Pillow.Image, top: int, rows: int) -> Pillow.Image:
    """So many rows of an image from ``top`` on, fewer at its end."""
    if rows >= image.height:
        return image
    return image.crop((0, top, image.width, min(top + rows, image.height)))


def to_rgb(
    image: Pillow.Image, space: ColorSpace | None, scale: _GrayScale | None = None
) -> Pillow.Image:
    """A band of an image in mode RGB and in sRGB; ``scale`` is that of the whole deep gray one."""
    profile = image.info.get("icc_profile")
    if scale is not None:
        image = _deep_gray_to_8_bit(image, scale)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _GrayScale:
    """Which levels of deep gray are black and white, and whether they change places."""

    low: float
    range: float
    is_inverted: bool


def _is_deep_gray(image: Pillow.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _deep_gray_to_8_bit(image: Pillow.Image, scale: _GrayScale) -> Pillow.Image:
    """16-bit, 32-bit and float gray to mode L, or LA if one level is transparent."""
    values = _gray_values(image)
    scaled = (values.astype(np.float64) - scale.low) * (255.0 / scale.range)
    levels = np.floor(scaled + 0.5).astype(np.uint8)
    if scale.is_inverted:
        levels = 255 - levels
    gray = Pillow.fromarray(levels)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    alpha = np.where(values == key, np.uint8(0), np.uint8(255))
    return Pillow.merge("LA", (gray, Pillow.fromarray(alpha)))


def _gray_scale(image: Pillow.Image, *, is_inverted: bool) -> _GrayScale:
    """White is 65535 for integers and 1 for floats. Floats beyond 1 use the next common scale (255,
    65535) that contains them; any other values are scaled from their own minimum and maximum.
    """
    rows = max(1, _BAND // image.width)
    bands = (_gray_values(_band(image, top, rows)) for top in range(0, image.height, rows))
    lows, highs = zip(*((float(band.min()), float(band.max())) for band in bands), strict=True)
    low, high = min(lows), max(highs)
    scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    top = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if top is None:
        return _GrayScale(low=low, range=(high - low) or 1.0, is_inverted=is_inverted)
    return _GrayScale(low=0.0, range=top, is_inverted=is_inverted)


def _gray_values(image: Pillow.Image) -> npt.NDArray[Any]:
    """Deep gray ``[H, W]``; what is no number is 0."""
    values = np.asarray(image)
    if values.dtype.kind != "f":
        return values
    return np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
