"""Clips: true times, frames independent of how they are reached, colors, rotation, sound."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from media_makers import number_of, numbered, tone, write_audio, write_video, write_wav
from PIL import Image as Pillow

from gemma4cli.decoded import AudioClip, VideoFrame
from gemma4cli.errors import MediaDecodeError, MediaNotFoundError, NoVideoTrackError
from gemma4cli.media.containers import WHOLE, Span, open_container
from gemma4cli.media.pictures import frames, video
from gemma4cli.media.pictures.track import Shot, Track
from gemma4cli.media.sound import decoding
from gemma4cli.messages import Source

NUMBERS = [numbered(number) for number in range(120)]
UNEVEN = list(np.cumsum([0.0] + [0.04, 0.04, 0.3, 0.04, 0.5, 0.1] * 19))


def matroska(path: Path) -> Path:
    return write_video(path / "a.mkv", NUMBERS, codec="ffv1", rate=24)


def short_groups(path: Path) -> Path:
    return write_video(path / "a.mp4", NUMBERS, options={"g": "12", "bf": "2"})


def one_long_group(path: Path) -> Path:
    return write_video(path / "a.mp4", NUMBERS, options={"x264-params": "keyint=1000:scenecut=0"})


def open_gop(path: Path) -> Path:
    parameters = "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3"
    return write_video(path / "a.mp4", NUMBERS, options={"x264-params": parameters})


def gradual_refresh(path: Path) -> Path:
    """Keyframes after which frames are complete only some frames later."""
    parameters = "intra-refresh=1:keyint=12:bframes=0"
    return write_video(path / "a.mp4", NUMBERS, options={"x264-params": parameters})


def uneven_mp4(path: Path) -> Path:
    options = {"g": "10", "bf": "2"}
    return write_video(path / "a.mp4", NUMBERS[: len(UNEVEN)], times=UNEVEN, options=options)


def uneven_matroska(path: Path) -> Path:
    return write_video(path / "a.mkv", NUMBERS[: len(UNEVEN)], times=UNEVEN, options={"g": "10"})


def transport_stream(path: Path) -> Path:
    return write_video(path / "a.ts", NUMBERS, codec="mpeg2video", rate=25, options={"g": "12"})


def program_stream(path: Path) -> Path:
    options = {"g": "12", "bf": "2"}
    return write_video(path / "a.mpg", NUMBERS, codec="mpeg2video", rate=25, options=options)


def avi(path: Path) -> Path:
    return write_video(path / "a.avi", NUMBERS, codec="mpeg4", options={"g": "12", "bf": "2"})


def motion_jpeg(path: Path) -> Path:
    return write_video(path / "a.avi", NUMBERS, codec="mjpeg")


def raw_stream(path: Path) -> Path:
    options = {"g": "12"}
    return write_video(path / "a.h264", NUMBERS, rate=25, options=options, container_format="h264")


def gif(path: Path) -> Path:
    first, *rest = (Pillow.fromarray(pixels) for pixels in NUMBERS[:30])
    first.save(path / "a.gif", save_all=True, append_images=rest, duration=100)
    return path / "a.gif"


def unsearchable(path: Path) -> Path:
    """Written to a pipe, without index and duration."""

    class Pipe:
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for pixels in NUMBERS:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (path / "a.mkv").write_bytes(pipe.data)
    return path / "a.mkv"


Maker = Callable[[Path], Path]

MAKERS: list[Maker] = [
    matroska,
    short_groups,
    one_long_group,
    open_gop,
    gradual_refresh,
    uneven_mp4,
    uneven_matroska,
    transport_stream,
    program_stream,
    avi,
    motion_jpeg,
    raw_stream,
    gif,
    unsearchable,
]


def everything(path: Path) -> list[tuple[float, npt.NDArray[np.uint8]]]:
    """Each frame with its seconds from the first, by plain decoding."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [
            (frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
        if any(pts is None for pts, _ in found):
            rate = stream.guessed_rate
            return [(index / float(rate), pixels) for index, (_, pixels) in enumerate(found)]
        tick = stream.time_base
        return [(float((pts - found[0][0]) * tick), pixels) for pts, pixels in found]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """A clip in memory with all its frames."""

    source: Source
    frames: list[tuple[float, npt.NDArray[np.uint8]]]

    @property
    def length(self) -> float:
        """The time of the last frame."""
        return self.frames[-1][0]

    def time_of(self, index: int, share: float) -> float:
        """A time at which a frame has been on screen for a share of its duration."""
        if index >= len(self.frames) - 1:
            return self.length + index + share
        begin, end = self.frames[index][0], self.frames[index + 1][0]
        return begin + share * (end - begin)


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Maker], Clip]:
    """Makes each clip once."""

    @cache
    def clip(make: Maker) -> Clip:
        path = make(tmp_path_factory.mktemp(make.__name__))
        return Clip(source=Source.of(path.read_bytes()), frames=everything(path))

    return clip


def load_frames(source: Source, times: Sequence[float]) -> list[VideoFrame]:
    return list(video.iter_frames(source, times))


def load_sound(source: Source, start: float = 0.0, end: float | None = None) -> AudioClip | None:
    return video.load_sound(source, video.probe_video(source), start, end)


def load(path: Path, times: Sequence[float]) -> list[tuple[int, float]]:
    """Numbers and seconds of the frames at ``times``."""
    found = load_frames(Source.of(path), times)
    return [(number_of(frame.pixels), round(frame.seconds, 4)) for frame in found]


@pytest.fixture
def jumps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The keyframes, in ticks, to which the decoder jumped."""
    made: list[int] = []
    jump = Track.jump

    def recording(self: Track, seek_to: int, keyframe: int) -> Shot:
        made.append(keyframe)
        return jump(self, seek_to, keyframe)

    monkeypatch.setattr(Track, "jump", recording)
    return made


# Indices of frames and shares of their durations
POSITIONS = st.lists(
    st.tuples(st.integers(0, 125), st.sampled_from([0.0, 0.25, 0.5, 0.9])), max_size=12
).map(sorted)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=5)
@given(positions=POSITIONS)
@example(positions=[(index, 0.0) for index in range(0, 120, 17)])
@example(positions=[(108, 0.5)])
@example(positions=[(60 + step // 3, 0.25 * (step % 3)) for step in range(10)])
def test_frames_do_not_depend_on_how_they_are_reached(
    clip_of: Callable[[Maker], Clip], make: Maker, positions: list[tuple[int, float]]
) -> None:
    clip = clip_of(make)
    times = [clip.time_of(*position) for position in positions]
    shown = sorted({min(index, len(clip.frames) - 1) for index, _ in positions})
    found = load_frames(clip.source, times)
    assert [frame.seconds for frame in found] == pytest.approx([clip.frames[i][0] for i in shown])
    for frame, index in zip(found, shown, strict=True):
        np.testing.assert_array_equal(frame.pixels, clip.frames[index][1])


@pytest.mark.parametrize("make", [short_groups, open_gop, transport_stream, motion_jpeg, avi])
def test_far_frames_are_reached_by_jumps(
    clip_of: Callable[[Maker], Clip], make: Maker, jumps: list[int]
) -> None:
    clip = clip_of(make)
    times = [0.0, clip.length / 2, clip.length * 0.9]
    assert len(load_frames(clip.source, times)) == 3
    assert len(jumps) == 2


def test_no_jump_goes_back_to_a_keyframe_already_passed(tmp_path: Path, jumps: list[int]) -> None:
    load(one_long_group(tmp_path), [0.0, 3.0, 6.0, 11.0])
    assert jumps == []


def test_frames_that_are_incomplete_after_a_jump_are_decoded_again(
    tmp_path: Path, jumps: list[int]
) -> None:
    path = gradual_refresh(tmp_path)
    assert load(path, [0.0, 6.0, 11.0]) == [(0, 0.0), (60, 6.0), (110, 11.0)]
    assert len(jumps) <= 1


def test_a_jump_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_groups(tmp_path)
    jump = Track.jump
    calls = []

    def fail_later(self: Track, seek_to: int, keyframe: int) -> Shot:
        calls.append(keyframe)
        return jump(self, seek_to, keyframe + (1 if len(calls) > 1 else 0))

    monkeypatch.setattr(Track, "jump", fail_later)
    found = load(path, [0.0, 4.0, 8.0, 11.0])
    assert found == [(0, 0.0), (40, 4.0), (80, 8.0), (110, 11.0)]
    assert len(calls) == 2


def test_a_file_that_cannot_be_searched_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_groups(tmp_path)
    monkeypatch.setattr(frames, "_keyframe", lambda *_: None)
    assert load(path, [0.0, 4.0, 11.0]) == [(0, 0.0), (40, 4.0), (110, 11.0)]


def test_frames_carry_their_own_times(tmp_path: Path) -> None:
    times = [0, 0.1, 0.5, 0.6, 1.5, 1.6, 3.0, 3.033, 3.5]
    path = write_video(tmp_path / "a.mp4", NUMBERS[:9], times=times)
    wanted = [0, 0.49, 0.5, 1.49, 2.9, 3.4, 99]
    expected = [(0, 0.0), (1, 0.1), (2, 0.5), (3, 0.6), (5, 1.6), (7, 3.033), (8, 3.5)]
    assert load(path, wanted) == expected


def test_rounded_time_stamps_are_matched(tmp_path: Path) -> None:
    """Matroska stores milliseconds: the frame at 2/3 s begins at 0.667."""
    path = write_video(tmp_path / "a.mkv", NUMBERS[:6], rate=3, codec="mpeg4")
    assert load(path, [0, 1 / 3, 2 / 3, 1]) == [(0, 0.0), (1, 0.333), (2, 0.667), (3, 1.0)]


def test_no_frame_is_shown_before_its_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", NUMBERS[:6], codec="mjpeg")
    assert load(path, [0.06, 0.199]) == [(0, 0.0), (1, 0.1)]


def test_a_frame_requested_twice_is_yielded_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", NUMBERS[:3])
    assert load(path, [0, 0.01, 0.02, 0.1, 0.1, 5, 6, 7]) == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_no_times_give_no_frames(tmp_path: Path) -> None:
    assert load(write_video(tmp_path / "a.mp4", NUMBERS[:3]), []) == []


def test_times_out_of_order_are_an_error(tmp_path: Path) -> None:
    source = Source.of(write_video(tmp_path / "a.mp4", NUMBERS[:3]))
    for times in ([-0.1], [1.0, 0.5], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match="ascending and not negative"):
            load_frames(source, times)


def test_seconds_count_from_the_first_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", NUMBERS[:30], codec="mpeg2video", rate=25)
    info = video.probe_video(Source.of(path))
    assert info.origin > 0
    assert info.duration == pytest.approx(30 / 25, abs=0.05)
    assert load(path, [0, 1]) == [(0, 0.0), (25, 1.0)]


def test_frames_are_yielded_one_by_one(tmp_path: Path) -> None:
    found = video.iter_frames(Source.of(short_groups(tmp_path)), [0.0, 5.0, 9.0])
    assert number_of(next(found).pixels) == 0
    found.close()


# How to make a clip, its frame rate and its number of frames
MEASURED = [
    (short_groups, 10, 120),
    (matroska, 24, 120),
    (avi, 10, 120),
    (raw_stream, 25, 120),
    (gif, 10, 30),
    (unsearchable, 10, 120),
]


def test_a_clip_is_measured(clip_of: Callable[[Maker], Clip]) -> None:
    for make, rate, count in MEASURED:
        info = video.probe_video(clip_of(make).source)
        assert (info.width, info.height, info.has_sound) == (128, 64, False), make
        assert info.duration == pytest.approx(count / rate, abs=0.005), make
        assert info.frames == pytest.approx(count, abs=1), make


def test_uneven_frames_are_counted(tmp_path: Path) -> None:
    info = video.probe_video(Source.of(uneven_mp4(tmp_path)))
    assert UNEVEN[-1] < info.duration <= UNEVEN[-1] + 0.5
    assert info.frames == pytest.approx(len(UNEVEN), rel=0.05)


def test_longer_sound_does_not_lengthen_the_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", NUMBERS[:20], sound=tone(9))
    info = video.probe_video(Source.of(path))
    assert info.has_sound
    assert info.duration == pytest.approx(2.0, abs=0.01)


def test_a_clip_cut_short_is_as_long_as_it_plays(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", [numbered(number, 256, 128) for number in range(100)], codec="ffv1"
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = video.probe_video(Source.of(path))
    assert 3 < info.duration < 7
    last = load(path, [99])[0]
    assert last[0] == pytest.approx(10 * last[1])
    assert last[1] == pytest.approx(info.duration, abs=0.3)


QUARTERS = np.zeros((64, 128, 3), np.uint8)
QUARTERS[:32, :64], QUARTERS[:32, 64:], QUARTERS[32:, :64] = 255, (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotated_clips_are_upright(tmp_path: Path, rotation: int) -> None:
    """``rotation`` is counterclockwise, as in the display matrix."""
    path = write_video(tmp_path / "a.mp4", [QUARTERS] * 30, rotation=rotation, options={"g": "5"})
    upright = np.rot90(QUARTERS, rotation // 90 % 4)
    info = video.probe_video(Source.of(path))
    assert (info.height, info.width) == upright.shape[:2]
    for frame in load_frames(Source.of(path), [0, 2.5]):
        assert frame.pixels.flags.c_contiguous
        close = np.abs(frame.pixels.astype(int) - upright) < 24
        assert close.mean() > 0.95


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is missing")
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_agrees_with_ffmpeg(tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "a.mp4", [QUARTERS] * 5, rotation=rotation)
    picture = tmp_path / "a.png"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", str(picture)]
    subprocess.run(command, check=True)
    found = load_frames(Source.of(path), [0])[0].pixels.astype(int)
    with Pillow.open(picture) as image:
        expected = np.asarray(image.convert("RGB"))
    assert found.shape == expected.shape
    assert (np.abs(found - expected) < 8).mean() > 0.95


KR_KB = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114)}
MATRIX = {"bt709": 1, "bt601": 6}
LIMITED, FULL = 1, 2


def test_colors_follow_the_tagged_matrix_and_range(tmp_path: Path) -> None:
    colors = [(120, 90, 200), (180, 128, 128), (60, 160, 110)]
    for matrix, color_range, yuv in product(KR_KB, (LIMITED, FULL), colors):
        found = one_color(tmp_path / "a.mp4", matrix, color_range, yuv)
        np.testing.assert_allclose(
            found, rgb_of(matrix, color_range, yuv), atol=2.5, err_msg=f"{matrix} {color_range}"
        )


def one_color(
    path: Path, matrix: str, color_range: int, yuv: tuple[int, int, int]
) -> npt.NDArray[np.float64]:
    """The mean color of the frames decoded from a clip of one tagged color."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = MATRIX[matrix], color_range
        planes = [
            np.full(64 * 32 // (1 if index == 0 else 4), value, np.uint8)
            for index, value in enumerate(yuv)
        ]
        frame = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(48, 64), format="yuv420p")
        frame.colorspace, frame.color_range = MATRIX[matrix], color_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    mean: npt.NDArray[np.float64] = (
        load_frames(Source.of(path), [0])[0].pixels.reshape(-1, 3).mean(axis=0)
    )
    return mean


def rgb_of(matrix: str, color_range: int, yuv: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """The color by the formulas of the standards."""
    red, blue = KR_KB[matrix]
    if color_range == LIMITED:
        y, cb, cr = (yuv[0] - 16) / 219, (yuv[1] - 128) / 224, (yuv[2] - 128) / 224
    else:
        y, cb, cr = yuv[0] / 255, (yuv[1] - 128) / 255, (yuv[2] - 128) / 255
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


def test_the_sound_of_a_span(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, 32_000).astype(np.int16)
    source = Source.of(write_video(tmp_path / "a.mkv", NUMBERS[:20], sound=samples))
    whole = load_sound(source)
    part = load_sound(source, 0.5, 1.25)
    assert whole is not None
    assert part is not None
    np.testing.assert_array_equal(whole.samples, samples.astype(np.float32) / 32768)
    np.testing.assert_array_equal(part.samples, whole.samples[8_000:20_000])


def test_probing_and_sound_open_a_clip_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source.of(write_video(tmp_path / "a.mp4", NUMBERS[:20], sound=tone(2)))
    opened: list[Source] = []

    def counting(source: Source, span: Span = WHOLE) -> AbstractContextManager[InputContainer]:
        opened.append(source)
        return open_container(source, span)

    monkeypatch.setattr(video, "open_container", counting)
    monkeypatch.setattr(decoding, "open_container", counting)
    info = video.probe_video(source)
    assert len(opened) == 1
    assert video.load_sound(source, info) is not None
    assert len(opened) == 2


def test_a_clip_without_sound_gives_none(tmp_path: Path) -> None:
    source = Source.of(write_video(tmp_path / "a.mp4", NUMBERS[:5]))
    assert load_sound(source) is None


@pytest.mark.parametrize(("video_begins", "sound_begins"), [(0, 1.5), (0.5, 0), (0.2, 0.7)])
def test_sound_is_aligned_with_the_first_frame(
    tmp_path: Path, video_begins: float, sound_begins: float
) -> None:
    path = tmp_path / "a.mkv"
    samples = np.random.default_rng(0).integers(1, 9999, 32_000).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index, pixels in enumerate(NUMBERS[:20]):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 100), 10 * index + round(100 * video_begins)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        block = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        block.sample_rate, block.time_base = 16_000, Fraction(1, 16_000)
        block.pts = round(16_000 * sound_begins)
        container.mux(track.encode(block))
        container.mux(track.encode())
    sound = load_sound(Source.of(path), 0.0, 2.0)
    assert sound is not None
    late = round((sound_begins - video_begins) * 16_000)
    expected = samples.astype(np.float32) / 32768
    if late >= 0:
        expected = np.concatenate([np.zeros(late, np.float32), expected])
    else:
        expected = expected[-late:]
    np.testing.assert_array_equal(sound.samples, expected[:32_000])


def mp3_with_cover(path: Path) -> Path:
    """An MP3 that carries a picture, as music files do."""
    mp3 = write_audio(
        path / "plain.mp3",
        tone(1, 44_100)[None, :],
        codec="libmp3lame",
        sample_format="s16p",
        rate=44_100,
    )
    Pillow.new("RGB", (64, 64), (255, 0, 0)).save(path / "cover.jpg")
    body = b"\x00image/jpeg\x00\x03\x00" + (path / "cover.jpg").read_bytes()
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\x00\x00" + body
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    data = mp3.read_bytes()
    if data.startswith(b"ID3"):
        old = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
        data = data[10 + old :]
    (path / "cover.mp3").write_bytes(b"ID3\x03\x00\x00" + size + frame + data)
    return path / "cover.mp3"


def test_cover_art_is_not_video(tmp_path: Path) -> None:
    path = mp3_with_cover(tmp_path)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(NoVideoTrackError, match="is a recording without pictures"):
        video.probe_video(Source.of(path))


def test_tags_that_are_not_utf_8_are_no_obstacle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", NUMBERS[:20], codec="ffv1", sound=tone(2))
    data = path.read_bytes()
    ends = b"00:00:02.0"
    assert data.count(ends) == 2, "each track tells its end in a tag"
    path.write_bytes(data.replace(ends, b"\xe40:00:02.0").replace(b"Lavf", b"L\xe4vf"))
    info = video.probe_video(Source.of(path))
    assert (info.frames, info.duration, info.sound_end) == (20, 2.0, None)
    assert load(path, [0.55, 1.9]) == [(5, 0.5), (19, 1.9)]


def test_sound_alone_is_not_video(tmp_path: Path) -> None:
    with pytest.raises(NoVideoTrackError, match="is a recording without pictures"):
        video.probe_video(Source.of(write_wav(tmp_path / "a.mp4", tone(1))))


def test_an_image_is_not_video(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tif", "avif"):
        path = tmp_path / f"a.{suffix}"
        Pillow.new("RGB", (64, 64), (1, 2, 3)).save(path)
        for use in (video.probe_video, lambda source: load_frames(source, [0])):
            with pytest.raises(MediaDecodeError, match=r"is an image \(\w+\): use g4 describe"):
                use(Source.of(path))


def test_a_truncated_mp4_is_an_error(tmp_path: Path) -> None:
    path = short_groups(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaDecodeError, match=r"a\.mp4: is a damaged or truncated MP4 or MOV"):
        video.probe_video(Source.of(path))


def test_text_is_not_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("just some words, long enough to be looked at\n" * 50)
    with pytest.raises(MediaDecodeError, match="not an audio or video file"):
        video.probe_video(Source.of(path))


def test_a_text_file_is_not_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("plain text has a suffix that libav takes for pictures of text\n" * 50)
    with pytest.raises(MediaDecodeError, match="not an audio or video file"):
        video.probe_video(Source.of(path))


def test_a_clip_without_a_decodable_frame_is_an_error(tmp_path: Path) -> None:
    path = short_groups(tmp_path)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = np.random.default_rng(0).integers(0, 256, end - begin, np.uint8).tobytes()
    path.write_bytes(data)
    with pytest.raises(MediaDecodeError, match="none of its frames can be decoded"):
        video.probe_video(Source.of(path))


def test_missing_files_empty_files_and_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaNotFoundError):
        video.probe_video(Source.of(tmp_path / "gone.mp4"))
    with pytest.raises(MediaDecodeError, match="is empty"):
        video.probe_video(Source.of(tmp_path / "empty.mp4"))
    with pytest.raises(MediaDecodeError, match="is a folder"):
        video.probe_video(Source.of(tmp_path))


def test_bytes_are_read_as_files_are(tmp_path: Path) -> None:
    path = short_groups(tmp_path)
    source = Source.of(path.read_bytes(), name="-")
    assert video.probe_video(source) == video.probe_video(Source.of(path))
    found = load_frames(source, [0.0, 5.0, 11.0])
    assert [number_of(frame.pixels) for frame in found] == [0, 50, 110]


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is missing")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webm", ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-g", "20"]),
        ("a.mov", ["-c:v", "prores"]),
        ("a.flv", ["-c:v", "flv", "-g", "20"]),
        ("a.wmv", ["-c:v", "wmv2", "-g", "20"]),
        ("a.ogv", ["-c:v", "libtheora", "-g", "20"]),
        ("b.mp4", ["-c:v", "libx265", "-x265-params", "keyint=20:open-gop=1:log-level=none"]),
        ("c.mp4", ["-c:v", "libx264", "-movflags", "+frag_keyframe+empty_moov", "-g", "20"]),
    ],
)
def test_files_written_by_ffmpeg(tmp_path: Path, name: str, options: list[str]) -> None:
    plain = write_video(tmp_path / "plain.mkv", NUMBERS, codec="ffv1")
    command = ["ffmpeg", "-v", "error", "-i", str(plain), *options, str(tmp_path / name)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(f"this ffmpeg does not write {name} so")
    found = load(tmp_path / name, [0, 3.05, 6.05, 11.05])
    assert [number for number, _ in found] == [0, 30, 60, 110]
    assert [time for _, time in found] == pytest.approx([0, 3, 6, 11], abs=0.002)
    duration = video.probe_video(Source.of(tmp_path / name)).duration
    assert duration == pytest.approx(12.0, abs=0.11)


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is missing")
def test_an_edit_list_hides_the_frames_before_it(tmp_path: Path) -> None:
    plain, cut = short_groups(tmp_path), tmp_path / "cut.mp4"
    command = ["ffmpeg", "-v", "error", "-ss", "3.05", "-i", str(plain), "-c", "copy", str(cut)]
    subprocess.run(command, check=True)
    first, later = load(cut, [0, 5])
    assert first == (31, 0.0)
    assert later == (81, 5.0)
    assert video.probe_video(Source.of(cut)).duration == pytest.approx(8.9, abs=0.1)


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is missing")
def test_frames_that_only_repeat_the_one_before_count_into_the_duration(tmp_path: Path) -> None:
    """Theora writes such a frame as an empty packet."""
    still = [numbered(1)] * 20 + [numbered(2)] * 20
    plain, clip = write_video(tmp_path / "plain.mkv", still, codec="ffv1"), tmp_path / "still.ogv"
    options = ["-c:v", "libtheora", "-g", "100"]
    command = ["ffmpeg", "-v", "error", "-i", str(plain), *options, str(clip)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this ffmpeg writes no Theora")
    with av.open(str(clip)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.pts is not None]
    assert sizes[-1] == 0
    assert video.probe_video(Source.of(clip)).duration == pytest.approx(len(sizes) / 10)
    assert [number for number, _ in load(clip, [0, len(sizes) / 10])] == [1, 2]
