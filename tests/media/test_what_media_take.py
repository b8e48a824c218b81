"""Small files that claim much take little: what is decoded is bounded before it is decoded."""

from __future__ import annotations

import gc
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame as AvFrame
from media_makers import numbered, tone, write_video
from PIL import Image as Pillow

from gemma4cli.conversations.lengths import require_clips_fit, sound_that_fits
from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import ContextLengthError, MediaDecodeError
from gemma4cli.media.containers import open_container
from gemma4cli.media.holes import content_end
from gemma4cli.media.pictures import track as tracks
from gemma4cli.media.pictures.animations import timeline
from gemma4cli.media.pictures.decoders import bounded_decoder
from gemma4cli.media.pictures.images import count_pages, load_image
from gemma4cli.media.pictures.video import iter_frames, probe_video
from gemma4cli.media.sound import sound_blocks
from gemma4cli.media.sound.audio import load_audio, load_span
from gemma4cli.media.sound.lengths import seconds_if_longer
from gemma4cli.media.sound.tracks import ANY_TRACK
from gemma4cli.messages import Source
from gemma4cli.processing.video import sections

DAY = 86_400


def wav_of(path: Path, seconds: int, content: bytes = b"", *, stored: bool) -> Source:
    """A WAV that claims ``seconds`` of 16-bit sound at 8 kHz; ``stored`` as unstored zeros."""
    size = seconds * 16_000
    chunk = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    header = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + chunk
    header += b"data" + struct.pack("<I", size)
    path.write_bytes(header + content)
    if stored:
        os.truncate(path, len(header) + size)
    return Source.of(path)


def count_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the samples of each frame of sound that is decoded."""
    decoded: list[int] = []
    read = sound_blocks.timed_frames

    def counted(*args: Any) -> Any:
        for each in read(*args):
            decoded.append(each.frame.samples)
            yield each

    monkeypatch.setattr(sound_blocks, "timed_frames", counted)
    return decoded


def test_of_a_day_of_sound_only_what_is_heard_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wav_of(tmp_path / "day.wav", DAY, stored=True)
    decoded = count_frames(monkeypatch)
    clip = load_audio(source, longest=10)
    assert len(clip.samples) == 11 * SAMPLE_RATE
    assert clip.seconds == DAY
    assert sum(decoded) < 15 * 8000


def test_a_recording_is_long_if_its_sound_is_there_and_not_if_it_is_claimed(tmp_path: Path) -> None:
    long = wav_of(tmp_path / "day.wav", DAY, stored=True)
    short = wav_of(tmp_path / "claim.wav", DAY, tone(2, 8000).tobytes(), stored=False)
    assert seconds_if_longer(long, ANY_TRACK, 5000) == DAY
    assert seconds_if_longer(short, ANY_TRACK, 5000) is None


@pytest.mark.parametrize("seconds", [DAY, 400])
def test_sound_beyond_the_context_is_an_error_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    processor = SimpleNamespace(longest_clip=None, sound_tokens=lambda seconds: seconds * 25)
    model = cast(Any, SimpleNamespace(context_length=8192, processor=processor))
    source = wav_of(tmp_path / "long.wav", seconds, stored=True)
    decoded = count_frames(monkeypatch)
    with pytest.raises(ContextLengthError, match="use a shorter recording"):
        sound_that_fits(model, source, ANY_TRACK)
    assert not decoded
    short = wav_of(tmp_path / "claim.wav", seconds, tone(2, 8000).tobytes(), stored=False)
    assert sound_that_fits(model, short, ANY_TRACK).seconds == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_sound_far_inside_a_clip_is_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rise = (np.sin(np.cumsum(np.linspace(0.1, 0.6, 150 * 16_000))) * 20_000).astype(np.int16)
    path = write_video(tmp_path / f"c{suffix}", [numbered(1)] * 15, rate=1, sound=rise)
    source = Source.of(path)
    whole = load_span(source, 0, 150, 0.0).samples
    decoded = count_frames(monkeypatch)
    found = load_span(source, 120, 121, 0.0).samples
    assert sum(decoded) < 15 * SAMPLE_RATE
    expected = whole[120 * SAMPLE_RATE : 121 * SAMPLE_RATE]
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".gif", ".ts"])
def test_zeros_that_are_not_stored_are_no_content(tmp_path: Path, suffix: str) -> None:
    codec = {".gif": "gif"}.get(suffix, "mpeg4")
    path = tmp_path / f"c{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 64
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for number in range(5):
            frame = AvFrame.from_ndarray(np.full((64, 64, 3), number * 40, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = path.read_bytes()
    ends = range(len(data.rstrip(b"\0")), len(data) + 1)
    expected = probe_video(Source.of(path))
    os.truncate(path, 1 << 40)
    with path.open("r+b") as file:
        assert content_end(file) in ends
        file.seek(1 << 40)
        file.write(b"\0")  # stored, but a zero as well
    with path.open("rb") as file:
        assert content_end(file) in ends
    assert probe_video(Source.of(path)) == expected


def test_zeros_in_a_recording_are_silence(tmp_path: Path) -> None:
    source = wav_of(tmp_path / "day.wav", DAY, stored=True)
    assert source.path is not None
    with source.path.open("rb") as file:
        assert content_end(file) == 44 + DAY * 16_000


def gray_clip(path: Path, width: int, height: int, count: int = 1) -> Source:
    frames = [np.full((height, width, 3), 128, np.uint8)] * count
    return Source.of(write_video(path, frames, codec="mjpeg"))


def test_frames_beyond_the_highest_level_are_an_error(tmp_path: Path) -> None:
    source = gray_clip(tmp_path / "large.avi", 6000, 5984)
    with pytest.raises(MediaDecodeError, match="more than 35,651,584 pixels"):
        probe_video(source)


def test_huge_frames_are_decoded_at_keyframes_in_one_thread_and_halved(tmp_path: Path) -> None:
    source = gray_clip(tmp_path / "8k.avi", 6000, 5000)
    with open_container(source) as container:
        decoder = bounded_decoder(container.streams.video[0])
        assert (decoder.skip_frame, decoder.thread_count) == ("NONKEY", 1)
        assert decoder.options["max_pixels"] == "35651584"
    (frame,) = iter_frames(source, [0.0])
    assert frame.pixels.shape == (2500, 3000, 3)
    assert abs(int(frame.pixels.mean()) - 128) <= 2


def test_frames_that_are_passed_over_are_freed_at_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.mp4", [numbered(i) for i in range(120)])
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, AvFrame) for each in gc.get_objects())
        list(iter_frames(Source.of(path), [11.9]))
        after = sum(isinstance(each, AvFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert after - before <= 5


def test_far_too_many_frames_between_keyframes_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "_DECODED_PIXELS", 50 << 16)
    monkeypatch.setattr(tracks, "_PIXELS_OF_BYTE", 0)
    frames = [numbered(i) for i in range(60)]
    path = write_video(tmp_path / "c.mp4", frames, options={"g": "250", "sc_threshold": "0"})
    source = Source.of(path)
    assert len(list(iter_frames(source, [2.0]))) == 1
    with pytest.raises(MediaDecodeError, match="few keyframes"):
        list(iter_frames(source, [5.9]))


def dds(width: int, height: int) -> bytes:
    """The header of a DDS whose channels are not bytes, which Pillow decodes in Python."""
    masks = struct.pack("<5I", 32, 0x3FC00000, 0x7F800, 0x7F8, 0x7F)
    return (
        b"DDS " + struct.pack("<7I", 124, 0x1007, height, width, width * 4, 0, 0) + bytes(44)
        + struct.pack("<2I4s", 32, 0x41, bytes(4)) + masks + struct.pack("<5I", 0x1000, 0, 0, 0, 0)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.dds", dds(3000, 2001)),
        ("a.qoi", b"qoif" + struct.pack(">IIBB", 3000, 2001, 4, 0)),
        ("a.ppm", b"P3 3000 2001 255\n"),
    ],
)
def test_formats_decoded_in_python_have_fewer_pixels(name: str, data: bytes) -> None:
    with pytest.raises(MediaDecodeError, match=r"3000x2001 pixels; .* 6,000,000: convert it"):
        load_image(Source.of(data, name))


def test_a_huge_picture_in_an_icon_is_an_error_before_it_is_decoded() -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II5B", 13_000, 13_000, 8, 6, 0, 0, 0)
    entry = struct.pack("<4B2H2I", 0, 0, 0, 0, 1, 32, len(png), 22)
    apple = b"ic10" + struct.pack(">I", 8 + len(png)) + png
    for icon in (
        struct.pack("<3H", 0, 1, 1) + entry + png,
        b"icns" + struct.pack(">I", 8 + len(apple)) + apple,
    ):
        with pytest.raises(MediaDecodeError, match="13000x13000 pixels"):
            load_image(Source.of(icon, "icon"))


def test_an_animation_with_too_many_pixels_in_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    pictures = [Pillow.new("RGB", (1000, 1000), (number, 0, 0)) for number in range(2)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)
    data = path.read_bytes()
    at = data.index(b"ANMF")
    frame = data[at : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")]
    body = data[12:at] + frame * 2001
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)
    with pytest.raises(MediaDecodeError, match="2,001 frames of 1000x1000 pixels"):
        timeline(Source.of(path))


def test_pages_of_a_tiff_are_counted_up_to_a_limit() -> None:
    entries = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1), (279, 1)]
    size = 2 + 12 * (len(entries) + 1) + 4
    pages = bytearray(b"II*\0" + struct.pack("<I", 16) + b"\x80" * 8)
    for number in range(3000):
        tags = [*((tag, 3, 1, value) for tag, value in entries), (273, 4, 1, 8)]
        pages += struct.pack("<H", len(tags))
        pages += b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        pages += struct.pack("<I", 16 + (number + 1) * size if number < 2999 else 0)
    source = Source.of(bytes(pages), "pages.tiff")
    assert count_pages(source) == 2000


def test_libtiff_writes_nothing_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tiff"
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    Pillow.fromarray(noise).save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[200:1200] = b"\xff" * 1000
    with pytest.raises(MediaDecodeError, match="damaged"):
        load_image(Source.of(bytes(data), "a.tiff"))
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_a_plan_for_ages_without_sound_is_made_at_once() -> None:
    found = sections([0.0], start=0.0, end=1e15, sound_end=0.0, longest=10.0)
    assert [each.sound for each in found] == [None]


def test_clips_far_beyond_the_context_are_an_error_before_a_prompt_is_built() -> None:
    model = cast(Any, SimpleNamespace(context_length=8192))
    require_clips_fit(model, [8192, 8192])  # which the prompt as a whole does not fit
    with pytest.raises(ContextLengthError, match=r"about 100,000,000 tokens.*: use a part of it"):
        require_clips_fit(model, [300, 107_000_000])
