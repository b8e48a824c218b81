"""Frames are what a player shows: colors, opacity, pixel aspect, turns, whole pictures."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from media_makers import numbered, write_video

from gemma4cli.decoded import VideoFrame
from gemma4cli.errors import MediaDecodeError
from gemma4cli.media.pictures.display import Appearance, displayed
from gemma4cli.media.pictures.video import iter_frames, probe_video
from gemma4cli.messages import Source

Floats = npt.NDArray[np.float64]

RED = (220, 20, 20)
PATCHES = ((255, 255, 255), RED, (30, 160, 60), (40, 60, 210), (128, 128, 128), (0, 0, 0))
"""Colors in sRGB."""

MUTED = tuple(tuple((level + 128) // 2 for level in color) for color in PATCHES)
"""Colors that all primaries contain."""

BT709_TO_2020 = np.array([
    [0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595],
])  # fmt: skip
BT709_TO_P3 = np.array([
    [0.822462, 0.177538, 0.0], [0.033194, 0.966806, 0.0], [0.017083, 0.072397, 0.910520],
])  # fmt: skip
BT709_TO_525 = np.array([
    [1.065379, -0.055401, -0.009978], [-0.019633, 1.036363, -0.016731],
    [0.001632, 0.004412, 0.993956],
])  # fmt: skip
LUMA = {1: (0.2126, 0.7152, 0.0722), 5: (0.299, 0.587, 0.114), 6: (0.299, 0.587, 0.114),
        9: (0.2627, 0.6780, 0.0593)}  # fmt: skip


def linear(patches: Sequence[Sequence[int]]) -> Floats:
    """Light of sRGB patches, ``[n, 3]``."""
    signal = np.array(patches) / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def pq(light: Floats) -> Floats:
    """PQ's signal; 1 is 203 cd/m2."""
    y = (np.clip(light, 0, None) * 203 / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(light: Floats) -> Floats:
    """HLG's signal for a display of 1000 cd/m2; 1 is 203 cd/m2."""
    shown = np.clip(light, 1e-9, None) * 0.203
    luminance = shown @ np.array(LUMA[9])
    scene = shown * (luminance ** (1 / 1.2 - 1))[:, None]
    low = np.sqrt(3 * scene)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, low, high)


def srgb(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def write_patches(
    path: Path,
    signal: Floats,
    *,
    transfer: int = 2,
    primaries: int = 2,
    matrix: int = 2,
    coded: int | None = None,
    full: bool = False,
    height: int = 64,
    codec: str = "ffv1",
    pixel_format: str = "yuv444p10le",
    options: dict[str, str] | None = None,
) -> Path:
    """A clip with a column of 32 pixels for each color of ``signal``, ``[n, 3]``, in YUV 4:4:4.

    ``coded`` is the matrix that made the pixels if that is not the named one.
    """
    red, _, blue = weights = LUMA[coded or matrix]
    luma = signal @ np.array(weights)
    pb, pr = (signal[:, 2] - luma) / (2 - 2 * blue), (signal[:, 0] - luma) / (2 - 2 * red)
    spans = (1023, 1023, 0) if full else (876, 896, 64)
    levels = np.stack((spans[2] + spans[0] * luma, 512 + spans[1] * pb, 512 + spans[1] * pr))
    planes = np.clip(np.round(levels), 0, 1023).astype("<u2").repeat(32, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5, options=options or {})
        stream.width, stream.height, stream.pix_fmt = planes.shape[1], height, pixel_format
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, primaries
        context.colorspace, context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame(planes.shape[1], height, "yuv444p10le")
        frame.color_trc, frame.color_primaries = transfer, primaries
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        for plane, row in zip(frame.planes, planes, strict=True):
            padded = np.zeros((height, plane.line_size // 2), "<u2")
            padded[:, : len(row)] = row
            plane.update(padded.tobytes())
        for index in range(3):
            frame.pts, frame.time_base = index, Fraction(1, 5)
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


def first(path: Path, at: float = 0.0) -> VideoFrame:
    return next(iter_frames(Source.of(path), [at]))


def patches_of(path: Path) -> npt.NDArray[np.uint8]:
    """The color in the middle of each column."""
    return first(path).pixels[32, 16::32]


@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_hdr_below_diffuse_white_has_the_colors_of_sdr(
    tmp_path: Path, transfer: int, curve: type[pq]
) -> None:
    signal = curve(linear(PATCHES) @ BT709_TO_2020.T)
    path = write_patches(tmp_path / "a.mkv", signal, transfer=transfer, primaries=9, matrix=9)
    np.testing.assert_allclose(patches_of(path), PATCHES, atol=4)


@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_hdr_of_an_animated_avif_keeps_its_bits(
    tmp_path: Path, transfer: int, curve: type[pq]
) -> None:
    signal = curve(linear(PATCHES) @ BT709_TO_2020.T)
    path = write_patches(
        tmp_path / "a.avif", signal, transfer=transfer, primaries=9, matrix=9, codec="libsvtav1",
        pixel_format="yuv420p10le", options={"crf": "2", "preset": "8"},
    )  # fmt: skip
    assert probe_video(Source.of(path)).frames == 3
    np.testing.assert_allclose(patches_of(path), PATCHES, atol=8)


def test_light_above_diffuse_white_becomes_white_in_steps(tmp_path: Path) -> None:
    light = np.array([[0.5] * 3, [0.95] * 3, [1.0] * 3, [1.1] * 3, [5.0] * 3, [49.0] * 3])
    path = write_patches(tmp_path / "a.mkv", pq(light), transfer=16, primaries=9, matrix=9)
    levels = [int(color[0]) for color in patches_of(path)]
    assert levels == sorted(levels)
    assert levels[-1] == 255 and levels[2] >= 250 and levels[1] < levels[3]


def test_hdr_that_names_only_its_curve_has_the_primaries_of_hdr(tmp_path: Path) -> None:
    signal = pq(linear(PATCHES) @ BT709_TO_2020.T)
    path = write_patches(tmp_path / "a.mkv", signal, transfer=16, coded=9)
    np.testing.assert_allclose(patches_of(path), PATCHES, atol=4)


@pytest.mark.parametrize(
    ("primaries", "conversion"), [(9, BT709_TO_2020), (12, BT709_TO_P3), (6, BT709_TO_525)]
)
@pytest.mark.parametrize("transfer", [1, 13, 14])
def test_wide_and_old_primaries_are_converted(
    tmp_path: Path, primaries: int, conversion: Floats, transfer: int
) -> None:
    signal = srgb(linear(MUTED) @ conversion.T)
    matrix = {9: 9, 12: 1, 6: 6}[primaries]
    path = write_patches(
        tmp_path / "a.mkv", signal, transfer=transfer, primaries=primaries, matrix=matrix
    )
    np.testing.assert_allclose(patches_of(path), MUTED, atol=3)


@pytest.mark.parametrize(("transfer", "power"), [(4, 2.2), (5, 2.8), (8, 1.0)])
def test_gammas_are_applied(tmp_path: Path, transfer: int, power: float) -> None:
    signal = linear(PATCHES) ** (1 / power)
    path = write_patches(tmp_path / "a.mkv", signal, transfer=transfer, primaries=1, matrix=1)
    np.testing.assert_allclose(patches_of(path)[:5], PATCHES[:5], atol=5)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("transfer", [1, 2, 6, 13])
def test_matrix_and_range_are_those_of_the_clip(
    tmp_path: Path, matrix: int, transfer: int, full: bool
) -> None:
    path = write_patches(
        tmp_path / "a.mkv", np.array(PATCHES) / 255, matrix=matrix, transfer=transfer, full=full
    )
    np.testing.assert_allclose(patches_of(path), PATCHES, atol=4)


@pytest.mark.parametrize(("height", "coded"), [(480, 6), (576, 6), (720, 1), (1080, 1)])
def test_clips_without_a_matrix_have_that_of_their_size(
    tmp_path: Path, height: int, coded: int
) -> None:
    path = write_patches(tmp_path / "a.mkv", np.array(PATCHES) / 255, coded=coded, height=height)
    np.testing.assert_allclose(patches_of(path), PATCHES, atol=4)


def test_luma_with_differences_in_green_and_orange(tmp_path: Path) -> None:
    red, green, blue = (np.array(PATCHES) / 255).T
    frame = av.VideoFrame(32 * len(PATCHES), 64, "yuv444p")
    frame.colorspace, frame.color_range = 8, 2
    luma = red / 4 + green / 2 + blue / 4
    signal = (luma * 255, 128 + 255 * (green - luma), 128 + 255 * (red - blue) / 2)
    for plane, row in zip(frame.planes, signal, strict=True):
        padded = np.zeros((64, plane.line_size), np.uint8)
        padded[:, : frame.width] = np.clip(np.round(row), 0, 255).repeat(32)
        plane.update(padded.tobytes())
    np.testing.assert_allclose(displayed(frame, Appearance())[32, 16::32], PATCHES, atol=4)
    assert frame.colorspace == 8


def write_opaque_left(path: Path, codec: str, pixel_format: str) -> Path:
    """A red clip, transparent on the right."""
    pixels = np.zeros((64, 128, 4), np.uint8)
    pixels[..., :3] = RED
    pixels[:, :64, 3] = 255
    container_format = "apng" if codec == "apng" else None
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 128, 64, pixel_format
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "qtrle", "argb"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.png", "apng", "rgba"),
    ],
)
@pytest.mark.parametrize("at", [0.0, 0.9])
def test_transparent_parts_of_a_clip_are_white(
    tmp_path: Path, name: str, codec: str, pixel_format: str, at: float
) -> None:
    pixels = first(write_opaque_left(tmp_path / name, codec, pixel_format), at).pixels
    np.testing.assert_allclose(pixels[32, 20], RED, atol=8)
    np.testing.assert_allclose(pixels[32, 110], (255, 255, 255), atol=3)


def write_shaped(path: Path, aspect: Fraction, width: int = 128, height: int = 64) -> Path:
    """A clip whose pixels are not square."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(numbered(37, width, height), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("aspect", "width"),
    [
        (Fraction(64, 45), 182),
        (Fraction(8, 9), 114),
        (Fraction(2), 256),
        (Fraction(1, 2), 64),
        (Fraction(1), 128),
        (Fraction(200), 128),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_pixels_become_square_and_lines_are_kept(
    tmp_path: Path, aspect: Fraction, width: int, suffix: str
) -> None:
    path = write_shaped(tmp_path / f"a.{suffix}", aspect)
    info = probe_video(Source.of(path))
    assert (info.width, info.height) == (width, 64)
    assert first(path).pixels.shape == (64, width, 3)


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """An MP4 file with another display matrix in its track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("a", [1, -1])
@pytest.mark.parametrize("d", [1, -1])
@pytest.mark.parametrize("transposed", [False, True])
def test_turned_and_mirrored_clips_are_shown_upright(
    tmp_path: Path, a: int, d: int, transposed: bool
) -> None:
    corner = np.full((64, 128, 3), 255, np.uint8)
    corner[:16, :32] = 0
    path = write_video(tmp_path / "a.mp4", [corner] * 3)
    plain = first(path).pixels
    with_matrix(path, *((0, a, d, 0) if transposed else (a, 0, 0, d)))
    horizontal, vertical = (d, a) if transposed else (a, d)
    expected = plain.transpose(1, 0, 2) if transposed else plain
    expected = expected[::vertical, ::horizontal]
    info = probe_video(Source.of(path))
    assert (info.height, info.width) == expected.shape[:2]
    np.testing.assert_array_equal(first(path).pixels, expected)


def test_pixels_become_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    path = with_matrix(write_shaped(tmp_path / "a.mp4", Fraction(2)), 0, 1, -1, 0)
    info = probe_video(Source.of(path))
    assert (info.width, info.height) == (64, 256)
    assert first(path).pixels.shape == (256, 64, 3)


def write_interlaced(path: Path, codec: str, options: dict[str, str], count: int = 40) -> Path:
    """A white bar that moves 8 pixels from field to field, 25 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.codec_context.flags |= 1 << 29 | 1 << 18  # interlaced motion and transform
        for index in range(count):
            pixels = np.zeros((576, 720, 3), np.uint8)
            for field in range(2):
                left = 8 * (2 * index + field) + 16
                pixels[field::2, left : left + 48] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def comb(pixels: npt.NDArray[np.uint8]) -> float:
    """How much neighboring lines differ, on average over the picture."""
    lines = pixels[..., 1].astype(np.float64)
    return float(np.abs(np.diff(lines, axis=0)).mean())


INTERLACED = [
    ("a.mpg", "mpeg2video", {"b": "20M", "g": "12"}),
    ("a.ts", "mpeg2video", {"b": "20M", "g": "12", "bf": "2"}),
    ("a.mp4", "libx264", {"x264-params": "tff=1:keyint=12:min-keyint=12"}),
]


@pytest.mark.parametrize(("name", "codec", "options"), INTERLACED)
def test_interlaced_frames_become_whole_pictures(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_interlaced(tmp_path / name, codec, options)
    found = list(iter_frames(Source.of(path), [index / 25 for index in range(40)]))
    assert [round(frame.seconds * 25) for frame in found] == list(range(40))
    for frame in found:
        assert comb(frame.pixels) < 1.0
    lefts = [int(np.argmax(frame.pixels[288, :, 1] > 127)) for frame in found]
    assert all(10 <= after - before <= 22 for before, after in pairwise(lefts))


@pytest.mark.parametrize(("name", "codec", "options"), INTERLACED)
def test_whole_pictures_do_not_depend_on_how_they_are_reached(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_interlaced(tmp_path / name, codec, options)
    all_frames = list(iter_frames(Source.of(path), [index / 25 for index in range(40)]))
    for index in (11, 12, 13, 24, 25, 30, 36, 39):
        alone = list(iter_frames(Source.of(path), [0.0, index / 25]))[-1]
        assert alone.seconds == all_frames[index].seconds
        np.testing.assert_array_equal(alone.pixels, all_frames[index].pixels)


@pytest.mark.parametrize(("name", "codec", "options"), INTERLACED[:2])
def test_a_clip_of_one_interlaced_frame_has_no_comb(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_interlaced(tmp_path / name, codec, options, count=1)
    assert comb(first(path).pixels) < 1.0


@pytest.mark.parametrize("tag", [b"dvh1", b"dvhe"])
def test_the_colors_of_dolby_alone_are_named(tmp_path: Path, tag: bytes) -> None:
    path = write_patches(tmp_path / "a.mp4", np.array(PATCHES) / 255, matrix=1, codec="libx265")
    path.write_bytes(path.read_bytes().replace(b"hev1", tag).replace(b"hvc1", tag))
    with pytest.raises(MediaDecodeError, match="Dolby Vision"):
        first(path)


def test_dolby_over_hdr10_has_the_colors_of_hdr10(tmp_path: Path) -> None:
    signal = pq(linear(PATCHES) @ BT709_TO_2020.T)
    path = write_patches(
        tmp_path / "a.mp4", signal, transfer=16, primaries=9, matrix=9, codec="libx265"
    )
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvhe"))
    np.testing.assert_allclose(patches_of(path)[[0, 4, 5]], [PATCHES[n] for n in (0, 4, 5)], atol=6)


def test_constant_luminance_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    signal = np.array(PATCHES) / 255
    path = write_patches(tmp_path / "a.mkv", signal, transfer=16, primaries=9, matrix=14, coded=9)
    with pytest.raises(MediaDecodeError, match="colors cannot be converted"):
        first(path)
