"""Animations are clips: their frames, true times, opacity, disposal."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from gemma4cli.decoded import VideoFrame
from gemma4cli.errors import MediaDecodeError
from gemma4cli.media.pictures.video import iter_frames, probe_video
from gemma4cli.media.recognition import kind_of
from gemma4cli.messages import Source

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
COLORS = (RED, GREEN, BLUE)
LENGTHS = (200, 1300, 500)
"""Milliseconds of each frame."""

STARTS = (0.0, 0.2, 1.5)
FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
EXACT: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}


def animation(
    file_format: str,
    frames: Sequence[Pillow.Image],
    lengths: Sequence[int] = LENGTHS,
    **options: object,
) -> Source:
    out = io.BytesIO()
    frames[0].save(
        out,
        format=file_format,
        save_all=True,
        append_images=frames[1:],
        duration=list(lengths),
        **EXACT.get(file_format, {}),
        **options,
    )
    return Source.of(out.getvalue(), name="animation")


def plain(color: tuple[int, ...], mode: str = "RGB") -> Pillow.Image:
    return Pillow.new(mode, (32, 16), color)


def frames_of(source: Source, times: Sequence[float]) -> list[VideoFrame]:
    return list(iter_frames(source, times))


@pytest.mark.parametrize("file_format", FORMATS)
def test_frames_have_their_times(file_format: str) -> None:
    source = animation(file_format, [plain(color) for color in COLORS], loop=0)
    info = probe_video(source)
    assert (info.duration, info.width, info.height) == (pytest.approx(2.0), 32, 16)
    assert info.frames in (3, 4)
    assert not info.has_sound
    for time, number in [(0.0, 0), (0.19, 0), (0.2, 1), (1.49, 1), (1.5, 2), (1.99, 2), (50.0, 2)]:
        (frame,) = frames_of(source, [time])
        assert frame.seconds == pytest.approx(STARTS[number])
        np.testing.assert_allclose(frame.pixels[8, 16], COLORS[number], atol=4)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_frame_on_screen_at_several_times_comes_once(file_format: str) -> None:
    source = animation(file_format, [plain(color) for color in COLORS])
    found = frames_of(source, [0.0, 0.1, 0.3, 0.4, 1.7, 9.0])
    assert [frame.seconds for frame in found] == pytest.approx(STARTS)


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_animation_is_a_video_and_one_frame_is_an_image(file_format: str) -> None:
    assert kind_of(animation(file_format, [plain(color) for color in COLORS])) == "video"
    still = animation(file_format, [plain(RED)], [100])
    assert kind_of(still) == "image"
    for call in (probe_video, lambda source: frames_of(source, [0.0])):
        with pytest.raises(MediaDecodeError, match=r"is an image \(\w+\): use g4 describe"):
            call(still)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "AVIF"])
def test_transparent_parts_are_white(file_format: str) -> None:
    frames = [plain((*color, 255), "RGBA") for color in COLORS]
    for frame in frames:
        frame.paste((0, 0, 0, 0), (4, 2, 20, 14))
    for frame, color in zip(frames_of(animation(file_format, frames), STARTS), COLORS, strict=True):
        np.testing.assert_allclose(frame.pixels[8, 12], WHITE, atol=4)
        np.testing.assert_allclose(frame.pixels[8, 28], color, atol=8)


def test_what_no_frame_covers_is_white() -> None:
    """Encoders cut frames to what is not transparent, and need no mark of opacity then."""
    frames = [plain((*color, 255), "RGBA") for color in COLORS]
    for frame in frames:
        frame.paste((0, 0, 0, 0), (0, 0, 16, 16))
    source = animation("WEBP", frames)
    assert source.data is not None and not source.data[20] & 0x10
    for frame, color in zip(frames_of(source, STARTS), COLORS, strict=True):
        assert frame.pixels[8, 4].tolist() == [*WHITE]
        np.testing.assert_allclose(frame.pixels[8, 28], color, atol=4)


def test_transparent_parts_of_a_gif_are_white() -> None:
    frames = []
    for color in COLORS:
        frame = plain(color).quantize(4)
        palette = [*color, 1, 2, 3]
        frame = Pillow.new("P", (32, 16), 0)
        frame.putpalette(palette)
        frame.paste(1, (0, 0, 16, 16))
        frames.append(frame)
    source = animation("GIF", frames, transparency=1, disposal=2)
    for frame, color in zip(frames_of(source, STARTS), COLORS, strict=True):
        assert frame.pixels[8, 4].tolist() == [*WHITE]
        assert frame.pixels[8, 28].tolist() == [*color]


def apng(frames: Sequence[tuple[Pillow.Image, tuple[int, int], int, int]]) -> Source:
    """An APNG of parts: each a picture, its corner, how it is disposed of and blended."""
    plain_png = io.BytesIO()
    frames[0][0].save(plain_png, "PNG")
    data = plain_png.getvalue()

    def chunk(name: bytes, content: bytes) -> bytes:
        import zlib

        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    def pixels(image: Pillow.Image) -> bytes:
        out = io.BytesIO()
        image.save(out, "PNG")
        raw = out.getvalue()
        at = raw.index(b"IDAT")
        return raw[at + 4 : at + 4 + int.from_bytes(raw[at - 4 : at], "big")]

    parts, number = [data[:33], chunk(b"acTL", struct.pack(">II", len(frames), 0))], 0
    for index, (image, (x, y), dispose, blend) in enumerate(frames):
        control = struct.pack(
            ">IIIIIHHBB", number, *image.size, x, y, LENGTHS[index], 1000, dispose, blend
        )
        parts.append(chunk(b"fcTL", control))
        number += 1
        if index == 0:
            parts.append(chunk(b"IDAT", pixels(image)))
        else:
            parts.append(chunk(b"fdAT", struct.pack(">I", number) + pixels(image)))
            number += 1
    return Source.of(b"".join([*parts, chunk(b"IEND", b"")]), name="a.png")


@pytest.mark.parametrize("dispose", [0, 1, 2])
@pytest.mark.parametrize("blend", [0, 1])
def test_parts_of_an_animated_png_are_put_together(dispose: int, blend: int) -> None:
    part = Pillow.new("RGBA", (16, 16), (0, 0, 255, 255))
    part.paste((0, 0, 0, 0), (0, 0, 16, 8))
    last = Pillow.new("RGBA", (4, 4), (0, 128, 0, 255))
    source = apng([
        (plain((*RED, 255), "RGBA"), (0, 0), 0, 0),
        (part, (0, 0), dispose, blend),
        (last, (0, 12), 0, 0),
    ])  # fmt: skip
    first, second, third = frames_of(source, STARTS)
    assert first.pixels[4, 8].tolist() == [*RED]
    assert second.pixels[4, 8].tolist() == [*(RED if blend else WHITE)]
    assert second.pixels[12, 8].tolist() == [*BLUE]
    kept = {0: BLUE, 1: WHITE, 2: RED}[dispose]
    assert third.pixels[10, 8].tolist() == [*kept]
    assert third.pixels[14, 1].tolist() == [*GREEN]


def test_a_sequence_in_a_heif_container_is_a_clip(tmp_path: Path) -> None:
    from media_makers import number_of, numbered, write_video

    path = write_video(
        tmp_path / "a.mp4",
        [numbered(number) for number in range(6)],
        codec="libx265",
        options={"x265-params": "log-level=error"},
    )
    data = path.read_bytes()
    size = int.from_bytes(data[:4], "big")
    brands = (b"ftyp" + b"msf1" + bytes(4) + b"msf1hevc").ljust(size - 4, b"\0")
    source = Source.of(data[:4] + brands + data[size:], name="a.heics")
    assert probe_video(source).frames == 6
    assert [number_of(frame.pixels) for frame in frames_of(source, [0.0, 0.35])] == [0, 3]


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_frames_of_uneven_lengths_are_counted(name: str) -> None:
    source = animation(name, [plain(color) for color in COLORS], [50, 200, 1000])
    assert probe_video(source).frames == 3
    assert [frame.seconds for frame in frames_of(source, [0.0, 0.1, 0.9])] == [0.0, 0.05, 0.25]


def test_frames_without_a_length_last_as_in_a_browser() -> None:
    source = animation("WEBP", [plain(color) for color in COLORS], [0, 0, 0])
    assert probe_video(source).duration == pytest.approx(0.3)
    assert [frame.seconds for frame in frames_of(source, [0.0, 0.15, 0.25])] == [0.0, 0.1, 0.2]


def test_a_truncated_animation_is_an_error() -> None:
    whole = animation("WEBP", [plain(color) for color in COLORS])
    assert whole.data is not None
    with pytest.raises(MediaDecodeError, match="animation: "):
        frames_of(Source.of(whole.data[:-40], name="animation"), STARTS)
