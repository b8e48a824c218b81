"""Still pictures in the colors of sRGB, by what their files say: ICC profiles, CICP, gamma."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms
from PIL.ImageFile import ImageFile

from ..recognition import png_chunk
from .colors import BT709, BT709_POINTS, ColorSpace, to_srgb
from .image_readers import PILLOW_ERRORS

_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's modes by the color space of a profile."""

_ADOBE_RGB = ColorSpace(
    chromaticities=((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290)), gamma=563 / 256
)
_INTEROPERABILITY_BLOCK = 0xA005
_SRGB_GAMMA = 1 / 2.2
_INVISIBLE = 2
"""Levels by which a picture may differ from sRGB and still be taken for it."""


def color_space(opened: ImageFile, format_name: str, stream: BinaryIO) -> ColorSpace | None:
    """The color space that the file names by code or by numbers, None if it names none.

    ``stream`` is the file, of which the headers are read.
    """
    position = stream.tell()
    try:
        return _named_space(opened, format_name, stream)
    finally:
        stream.seek(position)


def _named_space(opened: ImageFile, format_name: str, stream: BinaryIO) -> ColorSpace | None:
    if format_name == "PNG":
        return _png_space(opened, stream)
    if opened.info.get("icc_profile"):
        return None
    if format_name == "AVIF":
        from .avif import color_space_of

        return color_space_of(stream)
    if format_name == "JPEG":
        return _ADOBE_RGB if _names_adobe_rgb(opened) else None
    named = opened.info.get("nclx_profile")  # of HEIC
    if not named:
        return None
    return ColorSpace(
        primaries=named["color_primaries"], transfer=named["transfer_characteristics"]
    )


def _names_adobe_rgb(opened: ImageFile) -> bool:
    """Whether a camera says so in its EXIF data, as the DCF standard has it, without a profile."""
    try:
        return opened.getexif().get_ifd(_INTEROPERABILITY_BLOCK).get(1) == "R03"
    except PILLOW_ERRORS:
        return False


def in_srgb(picture: Pillow.Image, profile: bytes | None, space: ColorSpace | None) -> Pillow.Image:
    """The picture in mode RGB with the colors of sRGB; opacity is ignored.

    The color space comes before the ICC profile. A profile that is damaged, or made for pixels of
    another kind, is ignored.
    """
    if space is not None:
        rgb = picture.convert("RGB")
        if space.is_srgb:
            return rgb
        return Pillow.fromarray(to_srgb(np.asarray(rgb).astype(np.uint16) * 257, space))
    if picture.mode == "LAB":
        return _lab_to_rgb(picture)
    transform, mode = _transform(profile) if profile else (None, "")
    gray = picture.mode in ("1", "L", "LA")
    if transform is None or (picture.mode == "CMYK") != (mode == "CMYK") or gray != (mode == "L"):
        return picture.convert("RGB")
    return _applied(transform, picture.convert(mode))


def _applied(transform: ImageCms.ImageCmsTransform, picture: Pillow.Image) -> Pillow.Image:
    result = ImageCms.applyTransform(picture, transform)
    assert result is not None
    return result


@lru_cache(maxsize=4)
def _transform(profile: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """The way from a profile to sRGB and the mode that it takes; None if there is nothing to do."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES.get(given.profile.xcolor_space.strip(), "")
        if mode in ("", "LAB"):
            return None, ""
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, ""
    return (None, "") if _does_nothing(transform, mode) else (transform, mode)


def _does_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode not in ("RGB", "L"):
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    sample = Pillow.fromarray(cube) if mode == "RGB" else Pillow.fromarray(cube[..., 0])
    before = np.asarray(sample.convert("RGB"), np.int16)
    change = np.abs(np.asarray(_applied(transform, sample), np.int16) - before)
    return bool(change.max() <= _INVISIBLE)


def _lab_to_rgb(picture: Pillow.Image) -> Pillow.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return _applied(ImageCms.buildTransform(lab, srgb, "LAB", "RGB"), picture)


def _png_space(opened: ImageFile, stream: BinaryIO) -> ColorSpace | None:
    """By the chunks in the order of the PNG specification: cICP, iCCP, sRGB, gAMA with cHRM."""
    cicp = png_chunk(stream, b"cICP")
    if cicp is not None and len(cicp) == 4:
        return ColorSpace(primaries=cicp[0], transfer=cicp[1])
    info = opened.info
    gamma, points = info.get("gamma"), info.get("chromaticity")
    if info.get("icc_profile") or "srgb" in info or not gamma:
        return None
    chromaticities = None
    if points:
        white, *colors = ((points[at], points[at + 1]) for at in (0, 2, 4, 6))
        chromaticities = (*colors, white)
        if np.allclose(chromaticities, BT709_POINTS, atol=0.002) or not all(
            y > 0 for _, y in chromaticities
        ):
            chromaticities = None
    usual = abs(gamma / _SRGB_GAMMA - 1) < 0.05
    if usual and chromaticities is None:
        return None
    return ColorSpace(
        primaries=BT709, chromaticities=chromaticities, gamma=None if usual else 1 / gamma
    )
