"""A decoded frame as a player shows it: sRGB on white, square pixels, upright."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame as AvFrame
from PIL import Image as Pillow

from .colors import BT709, BT2020, HDR, ColorSpace, Pixels, on_white, to_srgb
from .profiles import in_srgb

_MATRIX_BT709, _MATRIX_UNSPECIFIED, _MATRIX_BT2020 = 1, 2, 9
_NEAREST_MATRIX = {3: 2, 10: 9, 12: 2, 13: 9}
"""What stands in for matrices that libswscale lacks: of constant luminance and from primaries."""

_YCGCO = 8
_KNOWN_RANGES = (0, 1, 2)

_FULL = 2
_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""Clips that are narrower and not higher are taken for SD if they do not name their matrix."""

_SD_PRIMARIES, _HD_PRIMARIES = frozenset({4, 5, 6, 7}), frozenset({BT709, 11, 12})

_WHOLE_PIXELS = 16_000_000
"""Frames with more pixels are halved: models see a few million."""

_STRANGEST_ASPECT = 8
"""Pixels that are longer than this are taken for a mistake."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """How a frame is turned upright: first the axes change places, then each may be reversed."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Appearance:
    """How a frame is shown, beside what its pixels say.

    ``aspect`` is the width of a pixel divided by its height, None if it is not known; ``profile``
    is an ICC profile.
    """

    aspect: Fraction | None = None
    orientation: Orientation = Orientation()
    profile: bytes | None = None


def appearance(frame: AvFrame, aspect: Fraction | None) -> Appearance:
    """By what the decoder attached to the frame.

    Not for frames of PNG: PyAV frees the name of their profile twice, which ends the process.
    """
    profile = frame.side_data.get("ICC_PROFILE")
    return Appearance(
        aspect=aspect,
        orientation=_orientation(frame),
        profile=bytes(profile) if isinstance(profile, SideData) else None,
    )


def _orientation(frame: AvFrame) -> Orientation:
    """By the frame's display matrix; turns by other angles are rounded to quarters."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(data))
    if max(abs(a), abs(d)) >= max(abs(b), abs(c)):
        return Orientation(mirrored=a < 0, upside_down=d < 0)
    return Orientation(transposed=True, mirrored=c < 0, upside_down=b < 0)


def displayed_size(frame: AvFrame, look: Appearance) -> tuple[int, int]:
    """Width and height of ``displayed``."""
    width, height = _wide(frame, look.aspect), frame.height
    return (height, width) if look.orientation.transposed else (width, height)


def displayed(frame: AvFrame, look: Appearance) -> Pixels:
    """The frame as RGB, uint8 ``[H, W, 3]``.

    To make pixels square, the number of lines is kept and the width is changed, as players do. Huge
    frames have half the size.
    """
    frame = _manageable(frame)
    pixels = srgb_pixels(frame, profile=look.profile)
    width = _wide(frame, look.aspect)
    if width != frame.width:
        picture = Pillow.fromarray(pixels)
        size = (width, frame.height)
        pixels = np.asarray(picture.resize(size, Pillow.Resampling.BICUBIC))
    turn = look.orientation
    if turn.transposed:
        pixels = pixels.transpose(1, 0, 2)
    if turn.mirrored:
        pixels = pixels[:, ::-1]
    if turn.upside_down:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _manageable(frame: AvFrame) -> AvFrame:
    """The frame, or half of it in each direction if it is huge."""
    if frame.width * frame.height <= _WHOLE_PIXELS or frame.format.has_palette:
        return frame
    half = frame.reformat(
        width=-(-frame.width // 2), height=-(-frame.height // 2), interpolation="AREA"
    )
    half.color_primaries, half.color_trc = frame.color_primaries, frame.color_trc
    half.colorspace, half.color_range = frame.colorspace, frame.color_range
    return half


def _wide(frame: AvFrame, aspect: Fraction | None) -> int:
    if aspect is None or not Fraction(1, _STRANGEST_ASPECT) <= aspect <= _STRANGEST_ASPECT:
        return frame.width
    return max(1, round(frame.width * aspect))


def srgb_pixels(
    frame: AvFrame, space: ColorSpace | None = None, profile: bytes | None = None
) -> Pixels:
    """The frame as it is stored, in sRGB on white. Raises av.FFmpegError.

    ``space`` replaces the color space that the frame names by codes; the ICC profile counts where
    they do not say more than sRGB.
    """
    if space is None:
        space = ColorSpace(primaries=frame.color_primaries, transfer=frame.color_trc)
    alpha = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    if space.is_srgb and frame.colorspace != _YCGCO:
        pixels = _rgb(frame, "rgba" if alpha else "rgb24", space).astype(np.uint8, copy=False)
        if profile is None:
            return np.asarray(on_white(Pillow.fromarray(pixels))) if alpha else pixels
        shown = in_srgb(Pillow.fromarray(pixels[..., :3]), profile, None)
        if alpha:
            shown.putalpha(Pillow.fromarray(pixels[..., 3]))
            shown = on_white(shown)
        return np.asarray(shown)
    deep = _rgb(frame, "rgba64le" if alpha else "rgb48le", space).astype(np.uint16, copy=False)
    color = deep[..., :3]
    pixels = (color >> 8).astype(np.uint8) if space.is_srgb else to_srgb(color, space)
    if not alpha:
        return pixels
    opacity = (deep[..., 3] >> 8).astype(np.uint8)
    return np.asarray(on_white(Pillow.fromarray(np.dstack((pixels, opacity)))))


def _rgb(frame: AvFrame, layout: str, space: ColorSpace) -> npt.NDArray[np.generic]:
    """The frame's own RGB, ``[H, W, channels]``. Raises av.FFmpegError for unknown matrices."""
    matrix, color_range = frame.colorspace, frame.color_range
    try:
        if color_range not in _KNOWN_RANGES:
            frame.color_range = 0
        if matrix == _YCGCO:
            frame.colorspace = _MATRIX_UNSPECIFIED
            return _from_ycgco(frame)
        frame.colorspace = _matrix(frame, space)
        return np.asarray(frame.to_ndarray(format=layout))
    finally:
        frame.colorspace, frame.color_range = matrix, color_range


def _from_ycgco(frame: AvFrame) -> npt.NDArray[np.uint16]:
    """RGB of 16 bits ``[H, W, 3]`` from luma and the differences in green and orange."""
    planes = np.asarray(frame.to_ndarray(format="yuv444p16le", channel_last=True))
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    low, luma_range, chroma_range = (0, 65535, 65535) if full else (4096, 56064, 57344)
    luma = (planes[..., 0].astype(np.float32) - low) / luma_range
    green, orange = ((planes[..., i].astype(np.float32) - 32768) / chroma_range for i in (1, 2))
    rgb = np.stack((luma - green + orange, luma + green, luma - green - orange), axis=-1)
    return np.floor(np.clip(rgb, 0, 1) * 65535 + 0.5).astype(np.uint16)


def _matrix(frame: AvFrame, space: ColorSpace) -> int:
    """The frame's YUV matrix; as players do, HD without one has that of BT.709, SD of BT.601."""
    given = _NEAREST_MATRIX.get(frame.colorspace, frame.colorspace)
    if given != _MATRIX_UNSPECIFIED or frame.format.is_rgb:
        return given
    if space.primaries == BT2020 or space.transfer in HDR:
        return _MATRIX_BT2020
    if space.primaries in _HD_PRIMARIES:
        return _MATRIX_BT709
    is_sd = frame.width < _HD_WIDTH and frame.height <= _SD_HEIGHT
    return given if is_sd or space.primaries in _SD_PRIMARIES else _MATRIX_BT709
