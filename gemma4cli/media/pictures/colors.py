"""Pixels of any color space to sRGB: transfer curves, primaries and HDR tone mapping.

Codes are those of ITU-T H.273, which video streams, AVIF, HEIC and PNG share. Light is relative to
diffuse white, 203 cd/m2 in HDR (ITU-R BT.2408).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]
_Matrix = npt.NDArray[np.float64]

UNSPECIFIED = 2
BT709, BT2020 = 1, 9
PQ, HLG = 16, 18
HDR = frozenset({PQ, HLG})

_DIFFUSE_WHITE = 203.0
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
_KNEE = 0.9
"""Light up to which HDR is kept as it is; what is above, up to the sun, goes into the rest."""

_D65, _DCI, _C = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316)
_CHROMATICITIES: dict[int, tuple[tuple[float, float], ...]] = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""Red, green, blue and white as x and y."""
BT709_POINTS = _CHROMATICITIES[BT709]

_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
"""Codes of transfer curves that are powers. All others but HDR's are shown as sRGB by players."""

_LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_TOP, _HALF = np.float32(65535), np.float32(0.5)
_BAND = 1 << 15
"""Pixels converted at once, few enough for a processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorSpace:
    """Primaries and transfer curve of RGB pixels by their codes.

    ``chromaticities`` and ``gamma`` replace the codes where a file gives numbers: x and y of red,
    green, blue and white; the power that makes light of pixels.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    chromaticities: tuple[tuple[float, float], ...] | None = None
    gamma: float | None = None

    @property
    def is_srgb(self) -> bool:
        """Whether the pixels can be shown as they are."""
        return self._points is None and self._power is None and self.transfer not in HDR

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer curve is PQ or HLG."""
        return self.transfer in HDR

    @property
    def _points(self) -> tuple[tuple[float, float], ...] | None:
        """The primaries, None if they are those of sRGB or unknown."""
        if self.chromaticities is not None:
            return self.chromaticities
        if self.primaries == UNSPECIFIED and self.transfer in HDR:
            return _CHROMATICITIES[BT2020]
        return None if self.primaries == BT709 else _CHROMATICITIES.get(self.primaries)

    @property
    def _power(self) -> float | None:
        return _GAMMAS.get(self.transfer) if self.gamma is None else self.gamma


def to_srgb(pixels: npt.NDArray[np.uint16], space: ColorSpace) -> Pixels:
    """RGB ``[H, W, 3]`` of 16 bits to sRGB of 8; HDR is mapped to its range.

    Colors that sRGB lacks become the nearest at its border, channel by channel.
    """
    light = _light_curve(space)
    matrix = _to_bt709(space._points).astype(np.float32)
    codes = _srgb_codes()
    flat = pixels.reshape(-1, 3)
    out = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _BAND):
        band = slice(start, start + _BAND)
        channels = [light.take(flat[band, channel]) for channel in range(3)]
        if space.transfer == HLG:
            channels = _displayed_hlg(channels)
        channels = [_weighted(row, channels) for row in matrix]
        if space.transfer in HDR:
            channels = _tone_mapped(channels)
        for channel, linear in enumerate(channels):
            index = np.clip(linear, 0, 1) * _TOP + _HALF
            out[band, channel] = codes.take(index.astype(np.uint16))
    return out.reshape(pixels.shape)


def on_white(picture: Pillow.Image) -> Pillow.Image:
    """A picture of mode RGBA in front of white, in mode RGB."""
    white = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
    return Pillow.alpha_composite(white, picture).convert("RGB")


def _weighted(weights: _Floats, channels: Sequence[_Floats]) -> _Floats:
    red, green, blue = channels
    total: _Floats = weights[0] * red
    total += weights[1] * green
    total += weights[2] * blue
    return total


@lru_cache(maxsize=4)
def _light_curve(space: ColorSpace) -> _Floats:
    """The light of each 16-bit level; for HLG the scene's."""
    signal = np.arange(1 << 16) / 65535.0
    if space.transfer == PQ:
        return _pq_light(signal).astype(np.float32)
    if space.transfer == HLG:
        return _hlg_scene(signal).astype(np.float32)
    power = space._power
    if power is not None:
        return np.power(signal, power).astype(np.float32)
    low = signal / 12.92
    return np.where(signal <= 0.04045, low, ((signal + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _pq_light(signal: _Matrix) -> _Matrix:
    root = np.power(signal, 32 / 2523)
    ratio = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
    return 10_000.0 / _DIFFUSE_WHITE * np.power(ratio, 16384 / 2610)


def _hlg_scene(signal: _Matrix) -> _Matrix:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _displayed_hlg(scene: Sequence[_Floats]) -> list[_Floats]:
    """What a display with a peak of 1000 cd/m2 shows of a scene in BT.2020."""
    luminance = _weighted(_LUMA_BT2020, scene)
    gain = np.power(luminance, np.float32(_HLG_GAMMA - 1)) * np.float32(_HLG_PEAK / _DIFFUSE_WHITE)
    return [channel * gain for channel in scene]


def _tone_mapped(channels: Sequence[_Floats]) -> list[_Floats]:
    """Light above the knee pressed below 1; a pixel's channels keep their proportions."""
    red, green, blue = channels
    peak = np.maximum(np.maximum(red, green), blue)
    bright = np.flatnonzero(peak > _KNEE)
    peaks = peak[bright]
    over = (peaks - _KNEE) / (1 - _KNEE)
    scale = (_KNEE + (1 - _KNEE) * (1 - 1 / np.square(1 + over))) / peaks
    for channel in channels:
        channel[bright] *= scale.astype(np.float32)
    return list(channels)


@lru_cache(maxsize=4)
def _to_bt709(points: tuple[tuple[float, float], ...] | None) -> _Matrix:
    if points is None:
        return np.eye(3)
    target = BT709_POINTS
    adapted = _adaptation(points[3], target[3]) @ _to_xyz(points)
    result: _Matrix = np.linalg.inv(_to_xyz(target)) @ adapted
    return result


def _to_xyz(points: tuple[tuple[float, float], ...]) -> _Matrix:
    columns = np.array([_xyz(point) for point in points[:3]]).T
    result: _Matrix = columns * np.linalg.solve(columns, _xyz(points[3]))
    return result


def _adaptation(white: tuple[float, float], target: tuple[float, float]) -> _Matrix:
    ratio = (_BRADFORD @ _xyz(target)) / (_BRADFORD @ _xyz(white))
    result: _Matrix = np.linalg.inv(_BRADFORD) @ (ratio[:, None] * _BRADFORD)
    return result


def _xyz(point: tuple[float, float]) -> _Matrix:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


@lru_cache(maxsize=1)
def _srgb_codes() -> Pixels:
    """The 8-bit level for each of 65536 steps of light."""
    light = np.arange(1 << 16) / 65535.0
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.floor(signal * 255 + 0.5).astype(np.uint8)
