"""Clips that change in the middle: size, pixel format, pixel aspect, whole files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_makers import number_of, numbered

from gemma4cli.media.containers import WHOLE
from gemma4cli.media.mpeg_parts import mpeg_parts
from gemma4cli.media.pictures.frame_files import save_frames
from gemma4cli.media.pictures.video import iter_frames, probe_video
from gemma4cli.messages import Source

RATE = 10


def clip(
    path: Path,
    numbers: range,
    *,
    size: tuple[int, int] = (128, 64),
    pixel_format: str = "yuv420p",
    aspect: Fraction = Fraction(1),
    codec: str = "libx264",
    start: int = 0,
) -> bytes:
    """Numbered frames, the first at frame ``start`` of the clock."""
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "g": "5"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.sample_aspect_ratio = aspect
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            frame.pts, frame.time_base = start + number - numbers.start, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


CHANGES = {
    "size": {"size": (256, 96)},
    "smaller": {"size": (64, 48)},
    "pixel format": {"pixel_format": "yuv422p"},
    "aspect": {"aspect": Fraction(2)},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("times", [[index / RATE for index in range(30)], [0.0, 0.55, 2.05, 2.85]])
def test_frames_continue_where_a_transport_stream_changes(
    tmp_path: Path, change: str, times: list[float]
) -> None:
    first = clip(tmp_path / "a.ts", range(15))
    second = clip(tmp_path / "b.ts", range(15, 30), start=15, **CHANGES[change])
    source = Source.of(first + second, name="a.ts")
    found = list(iter_frames(source, times))
    expected = [min(29, int(time * RATE + 0.001)) for time in times]
    assert [number_of(frame.pixels) for frame in found] == expected
    sizes = {frame.pixels.shape[:2] for frame in found}
    changed = {"size": (96, 256), "smaller": (48, 64), "aspect": (64, 256)}.get(change, (64, 128))
    assert sizes == {(64, 128), changed}
    assert probe_video(source).duration == pytest.approx(3.0, abs=0.11)


def test_frames_of_different_sizes_are_saved(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ts", range(15))
    second = clip(tmp_path / "b.ts", range(15, 30), start=15, size=(256, 96))
    files = save_frames(Source.of(first + second, name="a.ts"), [0.0, 2.5], tmp_path / "out")
    assert [file.path.exists() for file in files] == [True, True]


@pytest.mark.parametrize("size", [(128, 64), (256, 96)])
def test_chained_ogg_is_one_clip(tmp_path: Path, size: tuple[int, int]) -> None:
    first = clip(tmp_path / "a.ogv", range(15), codec="libvpx")
    second = clip(tmp_path / "b.ogv", range(15, 30), codec="libvpx", size=size)
    source = Source.of(first + second, name="a.ogv")
    info = probe_video(source)
    assert info.duration == pytest.approx(3.0, abs=0.21)
    assert (info.width, info.height) == (128, 64)
    half = probe_video(Source.of(first, name="a.ogv")).duration
    times = [0.0, 0.5, half + 0.02, half + 0.52, half + 1.42]
    found = list(iter_frames(source, times))
    assert [number_of(frame.pixels) for frame in found] == [0, 5, 15, 20, 29]
    assert [frame.seconds for frame in found] == pytest.approx(times, abs=0.03)
    assert found[-1].pixels.shape == (size[1], size[0], 3)


def test_a_part_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ogv", range(15), codec="libvpx")
    second = clip(tmp_path / "b.ogv", range(15, 30), codec="libvpx")
    source = Source.of(first + second[:200], name="a.ogv")
    assert probe_video(source).duration == pytest.approx(1.5, abs=0.11)
    found = list(iter_frames(source, [0.0, 5.0]))
    assert [number_of(frame.pixels) for frame in found] == [0, 14]
    assert all(np.isfinite(frame.seconds) for frame in found)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video")]
)
def test_recordings_joined_end_to_end_are_one_clip(tmp_path: Path, suffix: str, codec: str) -> None:
    """Each has a clock that begins at the same time."""
    lengths = (range(40), range(40, 65), range(65, 110))
    parts = [clip(tmp_path / f"{part.start}.{suffix}", part, codec=codec) for part in lengths]
    source = Source.of(b"".join(parts), name=f"a.{suffix}")
    seconds = [probe_video(Source.of(part, name=f"a.{suffix}")).duration for part in parts]
    assert probe_video(source).duration == pytest.approx(sum(seconds), abs=0.01)
    starts = [0.0, seconds[0], seconds[0] + seconds[1]]
    times = [start + 0.31 for start in starts]
    found = list(iter_frames(source, times))
    assert [number_of(frame.pixels) for frame in found] == [3, 43, 68]
    assert [frame.seconds for frame in found] == pytest.approx(times, abs=0.05)


@pytest.mark.parametrize("suffix", ["ts", "mpg", "mp4", "mkv"])
def test_one_recording_is_one_part(tmp_path: Path, suffix: str) -> None:
    data = clip(tmp_path / f"a.{suffix}", range(100), codec="mpeg2video")
    assert mpeg_parts(Source.of(data, name="a")) == (WHOLE,)


@pytest.mark.parametrize("before", [0.5, 1.2, 1.6, 3.0])
def test_a_clock_that_runs_over_is_not_set_anew(tmp_path: Path, before: float) -> None:
    """33 bits are full after 26.5 hours, ``before`` seconds of this clip."""
    start = round((2**33 / 90_000 - before) * RATE)
    data = clip(tmp_path / "a.ts", range(20), codec="mpeg2video", start=start)
    source = Source.of(data, name="a.ts")
    assert mpeg_parts(source) == (WHOLE,)
    info = probe_video(source)
    assert (info.frames, info.duration) == (20, pytest.approx(20 / RATE))
    times = [number / RATE for number in (0, 7, 13, 19)]
    assert [number_of(frame.pixels) for frame in iter_frames(source, times)] == [0, 7, 13, 19]


@pytest.mark.parametrize("codecs", [("libx264", "mpeg2video"), ("mpeg2video", "libx265")])
@pytest.mark.parametrize("length", [15, 120])
def test_a_transport_stream_continues_with_another_codec(
    tmp_path: Path, codecs: tuple[str, str], length: int
) -> None:
    first = clip(tmp_path / "a.ts", range(length), codec=codecs[0])
    rest = range(length, length + 60)
    second = clip(tmp_path / "b.ts", rest, codec=codecs[1], start=length)
    source = Source.of(first + second, name="a.ts")
    end = (length + 60) / RATE
    assert probe_video(source).duration == pytest.approx(end, abs=0.11)
    times = [0.05, length / RATE - 0.25, length / RATE + 0.25, end - 0.25]
    found = list(iter_frames(source, times))
    expected = [0, length - 3, length + 2, length + 57]
    assert [number_of(frame.pixels) for frame in found] == pytest.approx(expected, abs=1)
    assert not any(frame.breaks_off for frame in found)


def test_a_change_of_codec_near_the_end_is_found(tmp_path: Path) -> None:
    first = clip(tmp_path / "a.ts", range(100), codec="mpeg2video", size=(512, 256))
    second = clip(tmp_path / "b.ts", range(100, 103), start=100)
    assert len(mpeg_parts(Source.of(first * 8 + second, name="a.ts"))) == 9


def test_the_last_frame_that_can_be_decoded_says_that_the_rest_is_lost(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.mov", range(30), codec="png", pixel_format="rgb24")
    head, *later = whole.split(b"IHDR")
    damaged = b"IHDR".join([head, *later[:15]]) + b"????" + b"????".join(later[15:])
    found = list(iter_frames(Source.of(damaged, name="a.mov"), [0.0, 0.5, 17.5]))
    assert [frame.breaks_off for frame in found] == [False, False, True]
    assert found[-1].seconds == pytest.approx(1.4)
    assert not any(f.breaks_off for f in iter_frames(Source.of(whole, name="a"), [0.0, 17.5]))
