"""Whether a file is an image, sound or a video: by its content, whatever its name says."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from media_makers import encode_sound, numbered, tone, write_audio, write_video, write_wav
from PIL import Image

from gemma4cli.errors import MediaError
from gemma4cli.media.recognition import kind_of
from gemma4cli.messages import Source

FRAMES = [numbered(number) for number in range(5)]


def kind(path: Path) -> str | None:
    """The kind of a file, which must not depend on its suffix."""
    nameless = path.rename(path.with_name("nameless"))
    misnamed = nameless.with_name("wrong.txt")
    found = kind_of(Source.of(nameless))
    nameless.rename(misnamed)
    assert kind_of(Source.of(misnamed)) == found
    assert kind_of(Source.of(misnamed.read_bytes())) == found
    return found


@pytest.mark.parametrize(
    ("name", "codec", "sample_format"),
    [
        ("a.mp4", "aac", "fltp"),
        ("a.mov", "aac", "fltp"),
        ("a.m4a", "aac", "fltp"),
        ("a.webm", "libopus", "s16"),
        ("a.mka", "pcm_s16le", "s16"),
        ("a.mkv", "pcm_s16le", "s16"),
        ("a.avi", "pcm_s16le", "s16"),
        ("a.caf", "pcm_s16le", "s16"),
        ("a.ogg", "flac", "s16"),
        ("a.ogv", "libopus", "s16"),
        ("a.opus", "libopus", "s16"),
        ("a.flac", "flac", "s16"),
        ("a.mp3", "libmp3lame", "s16p"),
        ("a.ts", "mp2", "s16"),
        ("a.aiff", "pcm_s16be", "s16"),
    ],
)
def test_sound_without_pictures_is_audio_in_any_container(
    tmp_path: Path, name: str, codec: str, sample_format: str
) -> None:
    planar = sample_format.endswith("p")
    samples = tone(1, rate=48_000)[None, :]
    data = (samples / 2**15).astype(np.float32) if sample_format == "fltp" else samples
    assert planar or data.ndim == 2
    path = write_audio(tmp_path / name, data, codec=codec, sample_format=sample_format, rate=48_000)
    assert kind(path) == "audio"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.ts", "libx264"),
        ("a.mts", "mpeg2video"),
        ("a.avi", "mpeg4"),
        ("a.ogv", "libvpx"),
        ("a.mpg", "mpeg2video"),
    ],
)
def test_moving_pictures_are_video_in_any_container(tmp_path: Path, name: str, codec: str) -> None:
    assert kind(write_video(tmp_path / name, FRAMES, codec=codec, rate=25)) == "video"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_one_picture_beside_sound_is_a_cover(tmp_path: Path, name: str) -> None:
    assert kind(write_video(tmp_path / name, FRAMES[:1], sound=tone(3))) == "audio"


def test_two_pictures_beside_sound_are_a_video(tmp_path: Path) -> None:
    assert kind(write_video(tmp_path / "a.mkv", FRAMES[:2], sound=tone(3))) == "video"


def test_one_picture_without_sound_is_a_video(tmp_path: Path) -> None:
    assert kind(write_video(tmp_path / "a.mp4", FRAMES[:1])) == "video"


def test_cover_art_does_not_make_a_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 128, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")
        frame.pts = 0
        container.mux(cover.encode(frame))
        container.mux(cover.encode())
        samples = (tone(1)[None, :] / 2**15).astype(np.float32)
        encode_sound(container, audio, samples, "fltp", 16_000)
    assert kind(tmp_path / "a.mp4") == "audio"


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.avif"])
@pytest.mark.parametrize("frames", [1, 3])
def test_an_image_with_several_frames_is_a_video(tmp_path: Path, name: str, frames: int) -> None:
    pictures = [Image.fromarray(frame) for frame in FRAMES[:frames]]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100)
    assert kind(tmp_path / name) == ("image" if frames == 1 else "video")


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.bmp", "a.ppm", "a.qoi", "a.jp2", "a.tiff", "a.ico", "a.pcx"]
)
def test_stills_are_images(tmp_path: Path, name: str) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / name)
    assert kind(tmp_path / name) == "image"


def test_a_format_without_a_mark_is_known_by_its_name(tmp_path: Path) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.tga")
    data = bytearray((tmp_path / "a.tga").read_bytes())
    (tmp_path / "a.tga").write_bytes(data.removesuffix(b"TRUEVISION-XFILE.\0"))
    assert kind_of(Source.of(tmp_path / "a.tga")) == "image"


def test_raw_video_that_begins_with_a_line_of_text_is_video(tmp_path: Path) -> None:
    frame = b"FRAME\n" + bytes([235]) * (64 * 64) + bytes([128]) * (2 * 32 * 32)
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W64 H64 F25:1 C420jpeg\n" + frame * 3)
    assert kind(tmp_path / "a.y4m") == "video"


def test_pages_are_no_animation(tmp_path: Path) -> None:
    page = Image.fromarray(FRAMES[0])
    page.save(tmp_path / "a.tiff", save_all=True, append_images=[page, page])
    assert kind(tmp_path / "a.tiff") == "image"


@pytest.mark.parametrize(
    "content",
    [
        b"Some words.\n" * 400,
        "Wörter.\n".encode() * 400,
        b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
        b"#EXTM3U\n#EXTINF:1\na.wav\n",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(100),
        b"\x7fELF" + bytes(5000),
        b"\xff\xfb\x90\x00",
        bytes(5000),
        b"{}",
    ],
)
def test_other_files_have_no_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert kind(tmp_path / "a.mp4") is None


@pytest.mark.parametrize(("name", "promised"), [("a.mp4", "video"), ("a.wav", "audio")])
def test_a_damaged_file_has_the_kind_that_it_promises(
    tmp_path: Path, name: str, promised: str
) -> None:
    path = tmp_path / name
    if promised == "video":
        write_video(path, FRAMES)
    else:
        write_wav(path, tone(1))
    path.write_bytes(path.read_bytes()[:40])
    assert kind(path) == promised


def test_what_cannot_be_opened_is_an_error_or_has_no_kind(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "missing", "."):
        source = Source.of(tmp_path / name)
        with pytest.raises(MediaError):
            kind_of(source)


def test_an_animated_webp_with_one_frame_is_an_image() -> None:
    file = io.BytesIO()
    first, second = (Image.new("RGB", (32, 32), color) for color in ("red", "blue"))
    first.save(file, "WEBP", save_all=True, append_images=[second], duration=100)
    content = file.getvalue()
    assert kind_of(Source.of(content, name="two")) == "video"
    last = content.rindex(b"ANMF")
    body = content[8:last]
    alone = b"RIFF" + len(body).to_bytes(4, "little") + body
    assert kind_of(Source.of(alone, name="one")) == "image"
